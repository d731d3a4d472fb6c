"""Coral boards: what the Edge TPU's compiler gets, and what of it the published list says will be mapped."""

from pathlib import Path

from deploy.targets.job import Extra, Job
from engine.errors import EdgewiseError
from estimator.capability import EDGE_TPU_OPERATORS, full_int8

SCRIPT = (Path(__file__).parent / "compile.sh").read_text()


def extra(job: Job) -> Extra:
    """Returns the files and the text for a Coral board."""
    if reason := why_not(job):
        beside = "This package runs on the processor beside it."
        return Extra({}, f"## On the Edge TPU\n\nThe Edge TPU does not take this variant: {reason}. {beside}")
    rows = [
        f"{name},{count},{'Edge TPU' if name in EDGE_TPU_OPERATORS else 'processor'}"
        for name, count in job.operators.items()
    ]
    files = {
        "compile.sh": SCRIPT.encode(),
        "operators.csv": ("\n".join(["operator,times,unit", *rows]) + "\n").encode(),
    }
    return Extra(files, _text(job))


def why_not(job: Job) -> str:
    """Returns why the Edge TPU can't run a file, as part of a sentence; "" where it can: it takes TFLite of
    8 bits throughout, its input and output included.
    """
    if job.file.suffix != ".tflite":
        return "it is ONNX, and the Edge TPU takes TFLite"
    if job.profile is None or not full_int8(job.profile):
        return "its weights and activations are not all 8-bit"
    try:
        found = job.ask("tflite")
    except EdgewiseError as error:
        return str(error)
    ends = {*found["inputs"], *found["outputs"]}
    return "" if ends <= {"INT8", "UINT8"} else "its input or output is not 8-bit"


def _text(job: Job) -> str:
    total = sum(job.operators.values())
    left = {name: count for name, count in job.operators.items() if name not in EDGE_TPU_OPERATORS}
    runtime = job.device.runtimes["edgetpu"]
    lines = [
        "## On the Edge TPU",
        "",
        "    bash compile.sh",
        "",
        "on a PC makes `model_edgetpu.tflite`, which the same scripts use when it lies in this folder: run"
        f" `verify.py` first. Compiled for runtime {runtime.version}; **{runtime.proof}** on the Edge TPU.",
        "",
        f"{total - sum(left.values())} of {total} operators are on the compiler's published list"
        " (`operators.csv`), and input and output are 8-bit.",
    ]
    if left:
        lines += [
            "",
            f"The processor runs {', '.join(left)}, and all that follows the first of them.",
        ]
    lines += [
        "",
        "Delegate and runtime must fit each other: on the board both come from Coral's own packages"
        " (`sudo apt install python3-tflite-runtime libedgetpu1-std`), which the environment above sees.",
    ]
    return "\n".join(lines)
