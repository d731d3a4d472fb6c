"""Jetsons: what TensorRT builds its engine from, and how. Nothing of it could be run on a Jetson here."""

from pathlib import Path

from deploy.targets import floats
from deploy.targets.job import Extra, Job
from engine.errors import EdgewiseError

SCRIPT = (Path(__file__).parent / "build_engine.sh").read_text()
POWER = """\
`sudo nvpmodel -q` shows the power mode and `sudo nvpmodel -m 0` sets the fastest of most boards (on Orins
with JetPack 6.2, mode 2 may be faster still: `nvpmodel -p --verbose` lists them); `sudo jetson_clocks` keeps
the clocks up. Measure in the mode that the device will work in: `benchmark.py --minutes 10` notes
temperature and clock, and what an inference draws."""


def extra(job: Job) -> Extra:
    """Returns the files and the text for a Jetson."""
    runtime = job.device.runtimes["tensorrt"]
    fallback = "Without an engine the same scripts run on the processor, in " + (
        "ONNX Runtime." if job.file.suffix == ".onnx" else "LiteRT."
    )
    if job.file.suffix != ".onnx":
        return _without(fallback, "TensorRT reads ONNX, and this variant is TFLite")
    try:
        files, pictures = floats.of(job, tensorrt=runtime.version)
    except EdgewiseError as error:
        return _without(fallback, str(error))
    precision = _precision(job, "calibration.cache" in files)
    files["build_engine.sh"] = SCRIPT.replace("PRECISION", precision).encode()
    return Extra(files, _text(job, precision, pictures, fallback))


def _precision(job: Job, calibrated: bool) -> str:
    int8 = job.device.runtimes["tensorrt"].precisions["int8"]
    return "int8" if calibrated and int8.verdict == "native" else "fp16"


def _text(job: Job, precision: str, pictures: int, fallback: str) -> str:
    runtime = job.device.runtimes["tensorrt"]
    lines = [
        "## On the GPU, with TensorRT",
        "",
        f"    bash build_engine.sh {precision}",
        "",
        f"builds `model.engine` from `{floats.NAME}` (opset {floats.OPSET}, floats; {job.device.system} has"
        f" TensorRT {runtime.version}), which the same scripts then use: run `verify.py` first. The engine"
        f" was **{runtime.proof}**: here `{floats.NAME}` alone was run, in ONNX Runtime, and gave the"
        f" {pictures} golden pictures the answers that were measured.",
    ]
    if why := runtime.precisions["int8"].why:
        lines += ["", why]
    return "\n".join([*lines, "", fallback, "", POWER])


def _without(fallback: str, reason: str) -> Extra:
    text = f"## On the GPU\n\nThere is no engine to build, because {reason}. {fallback}\n\n{POWER}"
    return Extra({}, text)
