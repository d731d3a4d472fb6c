"""The devices that are described here: one TOML each under `devices/`, every figure with its source."""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from estimator.types import Frozen, Precision

FOLDER = Path(__file__).parent / "devices"
Proof = Literal["verified here", "emulated here", "not verified"]
Verdict = Literal["native", "falls back", "pointless", "unsupported"]


class UnknownDevice(ValueError):
    """A device id that is not described here; the message lists those that are."""


class Arithmetic(Frozen):
    """What a precision really runs as.

    Attributes:
        runs_as: The precision that the arithmetic is done in.
        verdict: `native`, `falls back` (works, but as something else), `pointless` (falls back and
            gains nothing), `unsupported`.
        why: One sentence, with what the user should know before choosing it.
    """

    runs_as: Precision
    verdict: Verdict
    why: str


class Runtime(Frozen):
    """A runtime that runs on the device: on what, which file formats it takes, and what precisions run as on
    it.

    Attributes:
        version: That packages for this device are made for; "" where no package is made for the runtime.
        channel_multiple: What its kernels take channels in: 4, 8 or 16. Other numbers are filled up.
        opset: The latest version of ONNX's operators that it reads in full, for ONNX files.
        proof: Where packages were seen to run in it: in this runtime on any processor of this project, on an
            emulated processor of the device, or nowhere.
    """

    unit: Literal["cpu", "gpu", "tpu", "npu"]
    formats: tuple[Literal["onnx", "tflite"], ...]
    precisions: dict[Precision, Arithmetic]
    version: str = ""
    channel_multiple: Literal[4, 8, 16] = 4
    opset: int | None = None
    proof: Proof = "not verified"


class Device(Frozen):
    """One device. None is unknown. `sources` names where each figure comes from, by field.

    Attributes:
        clock_ghz: Of the fastest core. memory_mb: Sizes it is sold with, MB of main memory.
        bandwidth_gb_s: Theoretical. measured_bandwidth_gb_s: Best STREAM kernel.
        l2_kb: Second-level cache. idle_w, load_w: Power of the board unless the source says otherwise.
        peak_gflops, peak_fp16_gflops, peak_int8_gops: Of the strongest unit, theoretical.
        runtime: What a run's files are written for here where its framework leaves a choice: `onnxruntime`
            (ONNX) or `litert` (TFLite); "" for the framework's usual one.
        offered, order: Whether it is shown first, and at which place among those.
        dot_product: Whether its processor has the INT8 dot-product instructions of ARMv8.2.
        architecture: What its 64-bit system calls the processor; "" where any may be (an accelerator on a
            stick). board: What the firmware's model of the board contains, where one is known.
        system, python: What runs on it, and the version of Python in that; "" where there is none.
        relative: The device whose measurements stand in first where this one has none.
        processor_of: The device that this one is but for an accelerator: what was measured on that one's
            processor holds here.
        ended: Why its maker's software no longer moves on and what that means for a package, as sentences; ""
            where it does.
    """

    id: str
    name: str
    family: Literal["raspberry_pi", "jetson", "coral", "rockchip", "hailo", "qualcomm", "microcontroller"]
    soc: str
    cpu: str = ""
    cores: int | None = None
    clock_ghz: float | None = None
    instructions: str = ""
    memory_mb: tuple[int, ...] = ()
    memory_type: str = ""
    bandwidth_gb_s: float | None = None
    measured_bandwidth_gb_s: float | None = None
    l2_kb: float | None = None
    accelerator: str = ""
    peak_gflops: float | None = None
    peak_fp16_gflops: float | None = None
    peak_int8_gops: float | None = None
    idle_w: float | None = None
    load_w: float | None = None
    runs_well: str = ""
    default_onnx: str
    default_tflite: str
    runtime: Literal["", "onnxruntime", "litert"] = ""
    offered: bool = False
    order: int = 100
    dot_product: bool = False
    architecture: str = ""
    board: str = ""
    system: str = ""
    python: str = ""
    relative: str = ""
    processor_of: str = ""
    ended: str = ""
    notes: str = ""
    runtimes: dict[str, Runtime]
    sources: dict[str, str] = Field(default_factory=dict)

    def default_runtime(self, file_format: str) -> str:
        """The runtime that is meant when none is named, for `onnx` and `tflite`; a what-if counts as
        TFLite.
        """
        return self.default_onnx if file_format == "onnx" else self.default_tflite

    def measured_as(self, runtime: str) -> str:
        """The id of the device whose measurements of a runtime are this one's."""
        return self.processor_of if self.processor_of and self.runtimes[runtime].unit == "cpu" else self.id

    def channel_multiple(self, file_format: str) -> int:
        """What channels are best kept in multiples of here, in files of a format."""
        return self.runtimes[self.default_runtime(file_format)].channel_multiple


@lru_cache(maxsize=1)
def all_devices() -> dict[str, Device]:
    """Every described device by id, those offered first, in their order."""
    found = [
        Device.model_validate(tomllib.loads(path.read_text()) | {"id": path.stem})
        for path in sorted(FOLDER.glob("*.toml"))
    ]
    found.sort(key=lambda device: (not device.offered, device.order, device.id))
    return {device.id: device for device in found}


def load_device(name: str) -> Device:
    """Returns one device. Raises UnknownDevice, naming the ids there are."""
    devices = all_devices()
    if name not in devices:
        raise UnknownDevice(f"Unknown device {name!r}; known are {', '.join(devices)}.")
    return devices[name]


@lru_cache(maxsize=1)
def accelerated() -> frozenset[str]:
    """The runtimes that compute on something other than the processor."""
    return frozenset(
        name
        for device in all_devices().values()
        for name, runtime in device.runtimes.items()
        if runtime.unit != "cpu"
    )
