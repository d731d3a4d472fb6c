"""The child that looks into an upload: recognise, check, open, try out; only the facts go back.

Started by `engine.formats.inspect`, never imported by a front.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from engine import formats
from engine.datasets.trial import TrialPictures, trial_pictures
from engine.device.preprocessing import preprocess
from engine.errors import BadInput
from engine.formats.choose import choose
from engine.formats.class_order import by_labels
from engine.formats.detect import Found
from engine.formats.doubt import way_out
from engine.formats.patience import Patience
from engine.formats.sized import at_input_size, with_own_size
from engine.vocabulary import ModelFile
from engine.wall.child import serve
from models.catalog import sha256_of

MAX_UPLOAD = 600_000_000
SECONDS = 75.0  # of the child's life, start and imports included, after which trying must end: it is given 90


def look(request: dict, send, started: float | None = None) -> dict:
    """Answers one request of `engine.formats.inspect` with a ModelFile as JSON. Raises BadInput in one line.

    started: when the time that it may take began, in seconds of `time.time`; now by default.
    """
    try:
        lived = time.time() - started if started else 0.0
        return _look(request, Patience(wall=time.monotonic() - lived + SECONDS))
    except (
        BadInput
    ) as error:  # names from the file stand in it; they must not break the line or steer a terminal
        line = " ".join(str(error).split())
        raise BadInput("".join(letter for letter in line if letter.isprintable())) from None


def _look(request: dict, patience: Patience) -> dict:
    path = Path(request["path"])
    if path.stat().st_size > MAX_UPLOAD:
        raise BadInput(
            f"The file has {path.stat().st_size / 1e6:,.0f} MB; models of at most {MAX_UPLOAD / 1e6:.0f} MB"
            " are taken: no edge device could hold it."
        )
    format = formats.recognise(path)
    formats.check(path, format)
    with _labelled(request) as (pictures, why_not):
        asked = request.get("input_size")
        size = asked[0] if asked else pictures.usual_shape[0] if pictures else None
        openings = formats.openings(path, format, request["architecture"], size)
        if pictures is not None:
            openings = [by_labels(opening, pictures.classes) for opening in openings]
        if asked:
            openings = at_input_size(openings, *asked)
        elif pictures and pictures.usual_shape[0] != pictures.usual_shape[1]:
            openings = with_own_size(openings, *pictures.usual_shape[:2])
        found, complete = choose(openings, pictures, request["dataset"], patience)
        doubt = ""
        if pictures is not None and request["architecture"] is None:
            doubt = way_out(found, pictures, patience, complete)
    described = _describe(path, format, request["name"], found, pictures.classes if pictures else None)
    told = {"warnings": [*described.warnings, *why_not]}
    if not doubt and not complete and found.opening.facts.get("guess"):
        told["warnings"].insert(
            0,
            "This machine was too busy to try all that the file leaves open within the time:"
            f" {found.opening.architecture} is assumed; open the file again later, or name the network.",
        )
    if doubt:
        told = {"warnings": [doubt, *told["warnings"]], "reach": "inspect"}
    return described.model_copy(update=told).model_dump(mode="json")


@contextmanager
def _labelled(request: dict) -> Iterator[tuple[TrialPictures | None, list[str]]]:
    """Gives validation pictures, and what to say when there are none to try the model on."""
    if not request["dataset"] or not request["home"]:
        yield None, []
        return
    with ExitStack() as stack:
        pictures, why_not = None, []
        try:
            pictures = stack.enter_context(trial_pictures(request["dataset"], request["home"]))
        except BadInput as error:
            why_not = [f"The preprocessing was not checked on images: {error}"]
        yield pictures, why_not


def _describe(path: Path, format: str, name: str, found: Found, named: list[str] | None) -> ModelFile:
    opening = found.opening
    same = named is not None and len(named) == opening.classes
    told = opening.facts.get("classes")  # by a file of labels, in the order of the outputs
    classes = told or (named if same else [f"class {i}" for i in range(opening.classes)])
    return ModelFile(
        name=name,
        path=str(path),
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        format=format,
        framework=formats.accepted()[format].framework,
        architecture=opening.architecture,
        input_shape=(opening.height, opening.width, opening.channels),
        classes=classes,
        layers=opening.facts["layers"],
        parameters=opening.facts["parameters"],
        outputs=opening.facts.get("outputs") or _outputs(found),
        preprocessing=found.preprocessing,
        reach=opening.facts.get("reach", "all"),
        evidence=[*opening.facts.get("evidence", []), *found.evidence],
        warnings=[*opening.facts.get("warnings", []), *found.warnings],
        class_order=found.class_order if same else [],
    )


def _outputs(found: Found) -> str:
    """Tells by the scores of a few random images whether they are probabilities: none negative, each row sums
    to one.
    """
    opening = found.opening
    images = np.random.default_rng(0).integers(
        0, 256, (4, opening.height, opening.width, opening.channels), np.uint8
    )
    if opening.facts.get("reach") == "inspect":
        return "logits"
    scores = opening.predict(preprocess(images, found.preprocessing.model_dump()))
    return (
        "probabilities" if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3) else "logits"
    )


if __name__ == "__main__":
    serve(partial(look, started=psutil.Process().create_time()))
