"""Device → runtime → format → what a package gives, and what a device draws: from what is known of each.

`python -m deploy.targets.overview` writes it into docs/devices.md and docs/power.md; a test keeps them equal.
"""

from pathlib import Path

from engine.judge.words import RUNTIMES
from estimator.coefficients import load
from estimator.devices import Device, Runtime, all_devices

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- table: python -m deploy.targets.overview -->", "<!-- end of table -->"
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


def power_rows() -> list[dict[str, str]]:
    """Returns a row for each device whose watts a published source measured together with latency."""
    power = load()["power"]
    return [
        {
            "device": device.name,
            "watts": f"{power[name]['load_w']:.1f}",
            "between": f"{power[name]['low_w']:.1f} and {power[name]['high_w']:.1f}",
            "what they are": power[name]["meaning"],
            "rows": f"{power[name]['rows']:,}",
        }
        for name, device in all_devices().items()
        if power.get(name)
    ]


PAGES = {"devices.md": rows, "power.md": power_rows}


def with_table(page: str) -> str:
    """Returns the text of a page of docs/ with its table as it is now."""
    found = PAGES[page]()
    lines = ["| " + " | ".join(found[0]) + " |", "|" + "---|" * len(found[0])]
    lines += ["| " + " | ".join(row.values()) + " |" for row in found]
    before, rest = (DOCS / page).read_text().split(BEGIN)
    return before + "\n\n".join([BEGIN, "\n".join(lines), END]) + rest.split(END)[1]


if __name__ == "__main__":
    for written in PAGES:
        (DOCS / written).write_text(with_table(written))
