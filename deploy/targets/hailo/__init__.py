"""A Raspberry Pi with a Hailo-8L: what Hailo's compiler builds its file from, and how."""

from pathlib import Path

from deploy.targets import npu, raspberry_pi
from deploy.targets.job import Extra, Job

ROUNDS = (
    f"In the compiler {npu.ANEW}. With fewer than 1,024 it leaves its better rounding out, and says so among"
    " what it prints."
)
NPU = npu.Npu(
    runtime="hailort",
    unit="Hailo-8L",
    tool="Hailo's Dataflow Compiler 3 (from hailo.ai/developer-zone, which wants an account)",
    script=Path(__file__).parent / "build_hef.sh",
    makes="model.hef",
    build=("bash build_hef.sh",),
    board=("sudo apt install hailo-all", ".venv/bin/python verify.py"),
    tflite="the compiler reads float TFLite with `hailo parser tf`",
    tried="The compiler was not at hand: its commands are those of its documentation.",
)


def extra(job: Job) -> Extra:
    """Returns the files and the text for such a board."""
    found = npu.extra(job, NPU, ROUNDS, {})
    return Extra(found.files, f"{found.text}\n\n{raspberry_pi.extra(job).text}")
