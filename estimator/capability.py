"""What a device can do, before any run: supported, falls back, or pointless, each with its reason."""

from collections.abc import Iterable
from typing import Literal

from estimator.devices import Arithmetic, Device, load_device
from estimator.types import Frozen, Precision, Profile

Answer = Literal["supported", "falls back", "pointless"]
# What the Edge TPU compiler maps, coral.ai/docs/edgetpu/models-intro, "Supported operations". Checked against
# a copy of
# an early version of that table and, up to RESIZE_BILINEAR, against developer.axis.com, ARTPEC-7, "Supported
# ops" (the
# same unit and compiler). RSQRT, SUM, SQUARED_DIFFERENCE, TRANSPOSE and all after RESIZE_NEAREST_NEIGHBOR are
# later or
# were cut off in both copies: not checked.
EDGE_TPU_OPERATORS = frozenset(
    (
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "LOGISTIC",
        "LSTM",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "SQUARED_DIFFERENCE",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    )
)
ON_CHIP_BYTES = 8_000_000
# the operators of ranges that are found at run time
DYNAMIC = frozenset(("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"))
MICRO_INT8 = "TensorFlow Lite Micro takes 8-bit weights with 8-bit activations only: choose full INT8."
# what takes float graphs or static codes only, with what to choose instead
NO_DYNAMIC = {
    "tensorrt": ("TensorRT", "FP16"),
    "rknn": ("RKNN-Toolkit2", "ptq_int8"),
    "hailort": ("Hailo's compiler", "ptq_int8"),
    "qnn": ("The Hexagon NPU", "ptq_int8"),
}


class Capability(Frozen):
    """An answer with its reason in one sentence; `operators` names those that fall back, with how many times
    each. `off_unit` tells that the file runs on the processor of a device that is chosen for another unit.
    """

    answer: Answer
    why: str = ""
    operators: dict[str, int] = {}
    off_unit: bool = False


def check(
    device: str,
    precision: Precision,
    profile: Profile | None = None,
    file_format: str = "",
    operators: Iterable[str] | None = None,
    runtime: str | None = None,
) -> Capability:
    """Says what becomes of an artifact on a device before it is run.

    Args:
        device: A device id. Raises UnknownDevice for another.
        precision: What the weights are stored in.
        profile, operators: The artifact, or just the operator types of its graph.
        file_format: `onnx` or `tflite`; taken from the profile when there is one.
        runtime: Defaults to the device's own for the format.
    """
    machine = load_device(device)
    file_format = file_format or (profile.format if profile else "onnx")
    if runtime is None:
        runtime = machine.default_runtime(file_format)
    if runtime == "edgetpu":
        names = list(
            operators if operators is not None else (la.op for la in profile.layers) if profile else ()
        )
        return _edge_tpu(machine, precision, file_format, names, profile)
    if runtime in NO_DYNAMIC and profile is not None and DYNAMIC & {layer.op for layer in profile.layers}:
        tool, instead = NO_DYNAMIC[runtime]
        return Capability(
            answer="falls back",
            off_unit=True,
            why=(
                f"{tool} takes no dynamically quantized graph: on {machine.name} such a file runs on the"
                f" processor, in ONNX Runtime. Choose {instead}."
            ),
        )
    if runtime == "tflm" and (refused := _micro(machine, precision, file_format, profile)):
        return Capability(answer="pointless", why=refused)
    chosen, off_unit = machine.runtimes[runtime].precisions[precision], is_off_unit(machine, runtime)
    if chosen.verdict == "native":
        return Capability(answer="supported", why=chosen.why, off_unit=off_unit)
    answer: Answer = "pointless" if chosen.verdict == "pointless" else "falls back"
    return Capability(answer=answer, why=chosen.why, off_unit=off_unit)


def _micro(machine: Device, precision: Precision, file_format: str, profile: Profile | None) -> str:
    """Returns why a microcontroller can't run a file at all, or ""."""
    chosen = machine.runtimes["tflm"].precisions[precision]
    if file_format != "tflite":
        return "TensorFlow Lite Micro takes TFLite files only: choose LiteRT."
    if chosen.verdict == "unsupported":
        return chosen.why
    if profile is not None and precision == "int8" and not full_int8(profile):
        return MICRO_INT8
    return ""


def is_off_unit(machine: Device, runtime: str) -> bool:
    """Tells whether a runtime leaves the unit idle that a device is chosen for: the one that its usual
    runtimes compute on.
    """
    usual = {machine.runtimes[name].unit for name in (machine.default_onnx, machine.default_tflite)}
    return usual != {"cpu"} and machine.runtimes[runtime].unit == "cpu"


def check_technique(
    device: str, technique: str, precision: Precision, file_format: str = "onnx"
) -> Capability:
    """Says before any run whether a technique's result is worth having on a device.

    `technique` is a technique id (a variant's id does as well), `precision` what its artifacts compute in,
    `file_format` `onnx` or `tflite`.
    """
    machine = load_device(device)
    name = technique.split("@")[0]
    if machine.family == "coral":
        return _technique_on_coral(machine, name, precision, file_format)
    answer = check(device, precision, file_format=file_format)
    if name == "prune_unstructured":
        return Capability(
            answer="falls back",
            why=(
                f"No runtime on {machine.name} skips scattered zeros: the compressed file shrinks, the time"
                " does not."
            ),
        )
    if name == "dynamic_int8" and machine.default_runtime(file_format) in NO_DYNAMIC:
        tool, instead = NO_DYNAMIC[machine.default_runtime(file_format)]
        why = f"{tool} takes no dynamically quantized graph: choose {instead}."
        return Capability(answer="pointless", why=why)
    if name == "dynamic_int8" and machine.default_runtime(file_format) == "tflm":
        return Capability(answer="pointless", why=MICRO_INT8)
    return answer


def _technique_on_coral(machine: Device, name: str, precision: Precision, file_format: str) -> Capability:
    if file_format == "onnx":
        return Capability(
            answer="falls back",
            why=(
                f"The Edge TPU of {machine.name} takes full INT8 TFLite; ONNX runs on the board's processor."
                " Choose LiteRT where the model can be written for it."
            ),
        )
    if name in ("ptq_int8", "qat_int8", "hybrid", "fit_limits"):
        return Capability(answer="supported", why=machine.runtimes["edgetpu"].precisions["int8"].why)
    if name in ("dynamic_int8", "fp16", "ptq_int4"):
        return Capability(
            answer="pointless",
            why=(
                f"{name} leaves float activations on {machine.name}: the Edge TPU takes only full INT8"
                " TFLite. Choose ptq_int8 or qat_int8."
            ),
        )
    return Capability(answer="falls back", why=machine.runtimes["edgetpu"].precisions[precision].why)


def _edge_tpu(
    machine: Device, precision: Precision, file_format: str, operators: list[str], profile: Profile | None
) -> Capability:
    chosen = machine.runtimes["edgetpu"].precisions[precision]
    if file_format != "tflite" or chosen.verdict != "native":
        why = chosen.why or "The Edge TPU takes only full INT8 TFLite."
        return Capability(answer="falls back", why=why, off_unit=True)
    if profile is not None and not full_int8(profile, precision):
        why = machine.runtimes["edgetpu"].precisions["float32"].why
        return Capability(answer="falls back", why=why, off_unit=True)
    left = sorted(op for op in operators if op not in EDGE_TPU_OPERATORS and op != "edgetpu-custom-op")
    if left:
        counts = {op: left.count(op) for op in dict.fromkeys(left)}
        return Capability(
            answer="falls back",
            operators=counts,
            why=(
                f"{len(left)} of {len(operators)} operators fall back to the processor: {', '.join(counts)};"
                " so does all that follows the first of them."
            ),
        )
    if profile is not None and profile.weight_bytes > ON_CHIP_BYTES:
        return Capability(
            answer="supported",
            why=(
                f"{profile.weight_bytes / 1e6:.1f} MB of weights exceed the about 8 MB that the Edge TPU"
                " keeps on chip: the rest is fetched for every image."
            ),
        )
    return Capability(answer="supported", why=chosen.why)


def default_runtime(
    machine: Device, profile: Profile, precision: Precision | None, file_format: str = ""
) -> str:
    """The runtime that is meant when none is named; on a Coral board what the Edge TPU refuses runs on the
    CPU. `file_format` says what a what-if will be.
    """
    runtime = machine.default_runtime(file_format or profile.format)
    if runtime == "edgetpu" and "litert" in machine.runtimes and not full_int8(profile, precision):
        return "litert"
    return runtime


def full_int8(profile: Profile, precision: Precision | None = None) -> bool:
    """Whether all that multiplies, weights and activations, is INT8, as the Edge TPU demands."""
    if profile.format == "manual":
        return (precision or profile.precision) == "int8"
    heavy = [layer for layer in profile.layers if layer.macs]
    return bool(heavy) and all(la.precision == "int8" and la.activation_precision == "int8" for la in heavy)


def arithmetic(machine: Device, runtime: str, stored: Precision, profile: Profile) -> Arithmetic:
    """What the artifact's precision really runs as. Raises ValueError for a runtime that the device does not
    have.
    """
    if runtime not in machine.runtimes:
        raise ValueError(
            f"{machine.name} has no runtime {runtime!r} here; it has {', '.join(machine.runtimes)}."
        )
    chosen = machine.runtimes[runtime].precisions.get(stored)
    if chosen is None:
        return Arithmetic(
            runs_as=stored,
            verdict="unsupported",
            why=f"{runtime} on {machine.name} is not known to run {stored}.",
        )
    heavy = [layer for layer in profile.layers if layer.macs]
    if stored == "int4" and heavy and max(heavy, key=lambda la: la.macs).activation_precision == "int8":
        return chosen.model_copy(update={"runs_as": machine.runtimes[runtime].precisions["int8"].runs_as})
    return chosen


def threads(machine: Device, runtime: str, asked: int | None) -> int:
    """Threads that a prediction is for: all cores of a processor, one for an accelerator."""
    if machine.runtimes[runtime].unit != "cpu":
        return 1
    return asked or machine.cores or 1


def too_large(machine: Device, memory_mb: float | None) -> str:
    """A sentence where the artifact can't fit the device's largest memory, else empty."""
    if memory_mb is None or not machine.memory_mb or memory_mb <= max(machine.memory_mb):
        return ""
    return (
        f"Does not fit: about {memory_mb:,.0f} MB are needed while it runs and {machine.name} has at most "
        f"{max(machine.memory_mb):,} MB."
    )
