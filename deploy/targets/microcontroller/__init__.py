"""Microcontrollers: the model as a C array, with a program for TensorFlow Lite Micro around it."""

from pathlib import Path

import numpy as np

from deploy.targets.job import Extra, Job
from engine.errors import EdgewiseError
from estimator.capability import full_int8
from estimator.types import Profile

PROGRAM = (Path(__file__).parent / "main.cc").read_text()
# operators that MicroMutableOpResolver has, by what its methods call them where that is not the plain way
METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "MAX_POOL_2D": "MaxPool2D",
    "AVERAGE_POOL_2D": "AveragePool2D",
    "PADV2": "PadV2",
}
PLAIN = frozenset(
    "ADD CONCATENATION DEQUANTIZE ELU EXPAND_DIMS FULLY_CONNECTED HARD_SWISH L2_NORMALIZATION LEAKY_RELU"
    " LOGISTIC MAXIMUM MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE RELU RELU6 RESHAPE RESIZE_BILINEAR"
    " RESIZE_NEAREST_NEIGHBOR SHAPE SLICE SOFTMAX SPLIT SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE"
    " TRANSPOSE_CONV".split()
)
# bytes on a 32-bit processor: of a tensor's and an operator's record, of an output channel's multipliers
TENSOR, OPERATOR, CHANNEL = 12, 96, 8
SPARE = 1.1
HEADER = b"extern const unsigned char kModelData[];\nextern const int kModelDataBytes;\n"
BYTES_A_LINE = 16


def extra(job: Job) -> Extra:
    """Returns the files and the text for a microcontroller."""
    if reason := why_not(job):
        text = f"There is no C array, because {reason}: choose `ptq_int8` or `qat_int8`, as LiteRT."
        return Extra({}, f"## On the microcontroller\n\n{text}")
    assert job.profile is not None
    found, content = job.ask("tflite"), job.file.read_bytes()
    arena = arena_bytes(job.profile, found["tensors"], found["operators"])
    golden = _golden(job, found["scale"], found["zero"])
    program = (
        PROGRAM.replace("ARENA_BYTES", str(arena))
        .replace("OPERATOR_COUNT", str(len(job.operators)))
        .replace("ADD_OPERATORS\n", "".join(f"  resolver.Add{method(op)}();\n" for op in job.operators))
    )
    files = {
        "micro/model_data.h": HEADER,
        "micro/model_data.cc": _array(content).encode(),
        "micro/golden.h": golden.encode(),
        "micro/main.cc": program.encode(),
    }
    return Extra(files, _text(job, len(content), arena))


def why_not(job: Job) -> str:
    """Returns why a file can't become a C array for TensorFlow Lite Micro, as part of a sentence, or ""."""
    if job.file.suffix != ".tflite":
        return "this variant is ONNX, and TensorFlow Lite Micro takes TFLite"
    if job.profile is None or not full_int8(job.profile):
        return "its weights and activations are not all 8-bit"
    if lacking := [op for op in job.operators if op not in METHODS and op not in PLAIN]:
        return f"TensorFlow Lite Micro has no {', '.join(lacking)}"
    try:
        ends = job.ask("tflite")
    except EdgewiseError as error:
        return str(error)
    return "" if {*ends["inputs"], *ends["outputs"]} == {"INT8"} else "its input or output is not 8-bit"


def method(operator: str) -> str:
    """Returns what MicroMutableOpResolver calls an operator: `Add` stands before it."""
    return METHODS.get(operator) or "".join(word.capitalize() for word in operator.split("_"))


def arena_bytes(profile: Profile, tensors: int, operators: int) -> int:
    """Returns what a file's arena is computed to take on a 32-bit processor, in whole kB of 1024 bytes: the
    activations that live at once, the library's records, and what a convolution unrolls of its input.
    """
    convolutions = [layer for layer in profile.layers if layer.kernel and layer.macs]
    channels = sum(layer.output_shape[-1] for layer in profile.layers if layer.macs and layer.output_shape)
    unrolled = [4 * layer.kernel[0] * layer.kernel[-1] * layer.input_shape[-1] for layer in convolutions]
    held = profile.peak_activation_bytes + TENSOR * tensors + OPERATOR * operators + CHANNEL * channels
    return 1024 * -(-int(SPARE * (held + max(unrolled, default=0))) // 1024)


def _golden(job: Job, scale: float, zero: int) -> str:
    values = np.load(job.golden / "inputs.npy")[0]
    scores = np.load(job.file.with_suffix(".golden.npy"))[0]
    codes = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8).ravel()
    rows = [codes[i : i + BYTES_A_LINE] for i in range(0, len(codes), BYTES_A_LINE)]
    body = ",\n".join("  " + ", ".join(map(str, row)) for row in rows)
    return (
        "// golden/00, as the model takes it (8 bits, height by width by channels), and the class it gets\n"
        "#include <cstdint>\n\n"
        f"constexpr int kClasses = {scores.size};\n"
        f"constexpr int kGoldenClass = {int(scores.argmax())};\n"
        f"constexpr int kGoldenInputBytes = {len(codes)};\n"
        f"constexpr int8_t kGoldenInput[kGoldenInputBytes] = {{\n{body}}};\n"
    )


def _array(content: bytes) -> str:
    rows = [content[i : i + BYTES_A_LINE] for i in range(0, len(content), BYTES_A_LINE)]
    body = ",\n".join("  " + ",".join(f"0x{byte:02x}" for byte in row) for row in rows)
    return (
        '#include "model_data.h"\n\n'
        f"alignas(16) const unsigned char kModelData[] = {{\n{body}}};\n"
        f"const int kModelDataBytes = {len(content)};\n"
    )


def _text(job: Job, size: int, arena: int) -> str:
    runtime = job.device.runtimes["tflm"]
    used = ", ".join(f"{name} ({count})" for name, count in job.operators.items())
    return (
        "## On the microcontroller\n\n"
        f"`micro/` holds the model as a C array ({size:,} bytes of flash) and `main.cc`, a program for"
        f" TensorFlow Lite Micro (the API of its {runtime.version} branch; **{runtime.proof}** on a board,"
        f" compiled here against stubs of that API). The arena is set to {arena:,} bytes of RAM, computed"
        " from the file; `arena_used_bytes()` says what is used. The resolver holds the operators of this"
        " file alone:"
        f" {used}.\n\nThe scripts beside it are for a PC: they show what the board shall answer."
    )
