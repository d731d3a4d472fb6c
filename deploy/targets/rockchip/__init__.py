"""Boards with an RK3588: what RKNN-Toolkit2 builds a file for the NPU from, and how."""

from pathlib import Path

from deploy.targets import npu, raspberry_pi
from deploy.targets.job import Extra, Job
from estimator.capability import full_int8

ROUNDS = f"For `int8` {npu.ANEW}. `fp16` computes in half floats, closer to what was measured and slower."
NPU = npu.Npu(
    runtime="rknn",
    unit="RK3588's NPU",
    tool="Rockchip's RKNN-Toolkit2",
    script=Path(__file__).parent / "build_rknn.py",
    makes="model.rknn",
    build=(
        "python3 -m venv .rknn",
        '.rknn/bin/pip install rknn-toolkit2 "setuptools<81" pillow',
        ".rknn/bin/python build_rknn.py PRECISION",
    ),
    board=(".venv/bin/pip install rknn-toolkit-lite2", ".venv/bin/python verify.py"),
    tflite="RKNN-Toolkit2 reads float TFLite with `load_tflite`",
    tried=(
        "Where Edgewise was written, RKNN-Toolkit2 2.5.0 built a small network for digits and a MobileNetV2"
        " by this script, and its simulator gave all golden pictures that were tried their answers."
    ),
)


def extra(job: Job) -> Extra:
    """Returns the files and the text for such a board."""
    # in half floats a float variant answers as was measured
    precision = "int8" if job.profile is not None and full_int8(job.profile) else "fp16"
    words = {"PRECISION": precision}
    found = npu.extra(job, NPU, ROUNDS, words)
    text = found.text.replace("PRECISION", precision)
    return Extra(found.files, f"{text}\n\n{raspberry_pi.extra(job).text}")
