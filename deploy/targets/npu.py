"""NPUs: what a maker's tool builds its file from, on a PC, and how. What is made runs in the package's
scripts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine.device
from deploy.targets import floats
from deploy.targets.job import Extra, Job
from engine.errors import EdgewiseError

CALIBRATION = Path(engine.device.__file__).parent / "calibration.py"
ANEW = (
    "the float graph is rounded to 8 bits anew, whatever this variant's own precision is: the accuracy that"
    " was measured holds only once `verify.py` and your own pictures say so on the board. Ranges are found"
    " by the golden pictures (`calibration.py`), which are few: name a folder of some hundred pictures of"
    " yours behind the command"
)


@dataclass(frozen=True)
class Npu:
    """An NPU and its maker's tool.

    Attributes:
        runtime: What the device calls the runtime. unit, tool: Their names, to stand in a sentence.
        script: What builds the file on a PC. makes: The file.
        build, board: The commands on the PC and on the board.
        tflite: How the tool reads TFLite.
        tried: What of it was tried where Edgewise was written.
    """

    runtime: str
    unit: str
    tool: str
    script: Path
    makes: str
    build: tuple[str, ...]
    board: tuple[str, ...]
    tflite: str
    tried: str


def extra(job: Job, npu: Npu, rounds: str, words: dict[str, str], **more: Any) -> Extra:
    """Returns the files and the text for an NPU. rounds: how the file comes to its precision, as sentences.
    words: what stands for what in its script. more: asked of `behind_wall.float_graph`.
    """
    runs = "ONNX Runtime" if job.file.suffix == ".onnx" else "LiteRT"
    fallback = f"Without {npu.makes} the same scripts run on the processor, in {runs}."
    if job.file.suffix != ".onnx":
        reason = (
            f"this variant is TFLite and its float graph is written of ONNX ({npu.tflite}; not tried here)"
        )
        return _without(npu, reason, fallback)
    if job.run.experiment.model.preprocessing.layout != "NCHW":
        return _without(npu, "its pictures go in with their channels last, which was not tried", fallback)
    try:
        files, pictures = floats.of(job, **more)
    except EdgewiseError as error:
        return _without(npu, str(error), fallback)
    script = npu.script.read_text()
    for word, instead in words.items():
        script = script.replace(word, instead)
    files |= {npu.script.name: script.encode(), CALIBRATION.name: CALIBRATION.read_bytes()}
    return Extra(files, _text(job, npu, rounds, pictures, fallback))


def _text(job: Job, npu: Npu, rounds: str, pictures: int, fallback: str) -> str:
    runtime = job.device.runtimes[npu.runtime]
    return "\n".join(
        [
            f"## On the {npu.unit}",
            "",
            f"With {npu.tool}, on a PC (x86-64 Linux), in this folder:",
            "",
            *(f"    {line}" for line in npu.build),
            "",
            f"That makes `{npu.makes}`, which the same scripts use once it is in this folder. On the board:",
            "",
            *(f"    {line}" for line in npu.board),
            "",
            rounds,
            "",
            f"**Not run here**: on the {npu.unit} this was **{runtime.proof}**, and no time is predicted for"
            f" it. `{floats.NAME}` (opset {floats.OPSET}, one picture at a time) was run in ONNX Runtime and"
            f" gave the {pictures} golden pictures the answers that were measured. {npu.tried}",
            "",
            fallback,
        ]
    )


def _without(npu: Npu, reason: str, fallback: str) -> Extra:
    return Extra(
        {}, f"## On the {npu.unit}\n\nThere is no {npu.makes} to build, because {reason}. {fallback}"
    )
