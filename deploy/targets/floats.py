"""The float graph that a maker's tool builds its own file from: the same for TensorRT and for all NPUs."""

import tempfile
from pathlib import Path
from typing import Any

from deploy.targets.job import Job
from engine.errors import EdgewiseError

NAME = "model_float.onnx"
# each of these tools reads it: TensorRT since 8.0; RKNN-Toolkit2 12 to 19 (its changelog, 1.6.0); Hailo's
# compiler 8 and 11 to 17 (general knowledge, not checked); ONNX Runtime's quantizer from 13 on
OPSET = 13


def of(job: Job, **more: Any) -> tuple[dict[str, bytes], int]:
    """Returns the graph as NAME, with what `more` asks of `behind_wall.float_graph`, and how many golden
    pictures it was tried on.

    Raises EdgewiseError for a file that has none, its message the reason as part of a sentence.
    """
    spec = job.run.experiment.model.preprocessing.as_fed(job.file).model_dump()
    with tempfile.TemporaryDirectory() as folder:
        how = {"opset": OPSET, "golden": str(job.golden.resolve()), "spec": spec, **more}
        found = job.ask("float_graph", target=str(Path(folder) / NAME), **how)
        if found["differ"]:
            raise EdgewiseError("the file for it answers otherwise than the one that was measured")
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}, found["pictures"]
