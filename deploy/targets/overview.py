"""Device → runtime → format → what a package gives: from what is known of each device.

`python -m deploy.targets.overview` writes it into README.md; a test keeps them equal.
"""

from pathlib import Path

from engine.judge.words import RUNTIMES
from estimator.devices import Device, Runtime, all_devices

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- devices: python -m deploy.targets.overview -->", "<!-- end of devices -->"
FORMATS = {"onnx": "ONNX", "tflite": "TFLite"}
GIVES = {
    "onnxruntime": "all scripts, on the processor",
    "litert": "all scripts, on the processor",
    "tensorrt": "graph, INT8 cache, build_engine.sh; then all scripts, on the GPU",
    "edgetpu": "operators by unit, compile.sh; then all scripts, on the Edge TPU",
    "rknn": "float graph, build_rknn.py; then all scripts, on the NPU",
    "hailort": "float graph, build_hef.sh; then all scripts, on the NPU",
    "qnn": "float graph, INT8 graph, build_qnn.py; then all scripts, on the NPU",
    "tflm": "C array, arena size, program in C++",
}
ON = {"cpu": 3, "gpu": 0, "tpu": 1, "npu": 2}  # what a device is chosen for comes first


def rows() -> list[dict[str, str]]:
    """Returns a row for each device and each runtime that packages are made for, ready for a data frame."""
    return [
        _row(device, name, runtime)
        for device in all_devices().values()
        for name, runtime in sorted(device.runtimes.items(), key=lambda item: ON[item[1].unit])
        if runtime.version
    ]


def _row(device: Device, name: str, runtime: Runtime) -> dict[str, str]:
    return {
        "device": device.name,
        "runtime": f"{RUNTIMES[name]} {runtime.version}".strip(),
        "format": " and ".join(FORMATS[format] for format in runtime.formats),
        "what you get": GIVES[name],
        "seen to run": runtime.proof,
        "maker's support": "ended" if device.ended else "–",
        "Python": device.python or "–",
        "opset": str(runtime.opset or "–"),
        "architecture": device.architecture or "–",
    }


def table() -> str:
    """Returns the rows as Markdown."""
    found = rows()
    lines = ["| " + " | ".join(found[0]) + " |", "|" + "---|" * len(found[0])]
    return "\n".join([*lines, *("| " + " | ".join(row.values()) + " |" for row in found)])


def with_table(text: str) -> str:
    """Returns the README's text with the table as it is now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
