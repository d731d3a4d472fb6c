"""Boards with a Hexagon NPU: what ONNX Runtime with Qualcomm's provider builds its file from, and how."""

from pathlib import Path

from deploy.targets import npu
from deploy.targets.job import Extra, Job
from estimator.capability import full_int8

CODES = "model_int8.onnx"
KEPT = (
    f"This variant's weights and activations are all 8-bit, so it goes as it is (`{CODES}`): the NPU"
    " computes with the very codes that were measured."
)
NPU = npu.Npu(
    runtime="qnn",
    unit="Hexagon NPU",
    tool="Qualcomm's provider for ONNX Runtime (Python 3.11 or later)",
    script=Path(__file__).parent / "build_qnn.py",
    makes="model_qnn.onnx",
    build=(
        "python3 -m venv .qnn",
        ".qnn/bin/pip install onnxruntime onnxruntime-qnn onnx pillow",
        ".qnn/bin/python build_qnn.py",
    ),
    board=('.venv/bin/pip install "onnxruntime>=1.24.2" "onnxruntime-qnn>=2"', ".venv/bin/python verify.py"),
    tflite="Qualcomm's AI Runtime SDK reads it with `qairt-converter`",
    tried=(
        "Where Edgewise was written, onnxruntime-qnn 2.7.0 built a small network for digits and a"
        " MobileNetV2 by this script, no operator left to the processor, and `verify.py` found all answers"
        " on its emulated NPU."
    ),
)


def extra(job: Job) -> Extra:
    """Returns the files and the text for such a board."""
    is_int8 = job.profile is not None and full_int8(job.profile)
    more = {"codes": CODES} if is_int8 else {}
    return npu.extra(job, NPU, KEPT if is_int8 else f"By the script {npu.ANEW}.", {}, **more)
