"""What each test image was taken for: kept with the run beside each file, 4 bytes an image."""

from pathlib import Path

import numpy as np

from engine import datasets
from engine.datasets import Part
from engine.errors import BadInput
from engine.judge.changes import ANSWERS, Change, changes
from engine.run.prepare import wanted
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant

ENDING = ".answers"


def write_answers(model: Path, predicted: np.ndarray, sure: np.ndarray) -> None:
    """Writes the class (int [n]) and the confidence (float [n]) of each test image beside a model's file."""
    kept = np.empty(len(predicted), ANSWERS)
    kept["answer"], kept["confidence"] = predicted, sure
    model.with_suffix(ENDING).write_bytes(kept.tobytes())


def answers_of(variant: Variant, folder: Path) -> np.ndarray | None:
    """Returns ANSWERS [n] of a variant in its run's `folder`; None where they were not kept.

    The child that wrote them ran the uploaded model: what is not of exactly the right size, not finite, or
    not in the variant's own place is not read.
    """
    if not variant.artifacts or not variant.test_images:
        return None
    path = (folder / variant.artifacts[0].opened).with_suffix(ENDING).resolve()
    place = (folder / "artifacts" / variant.id).resolve()
    try:
        size = path.stat().st_size
        if not path.is_relative_to(place) or size != variant.test_images * ANSWERS.itemsize:
            return None
        found = np.frombuffer(path.read_bytes(), ANSWERS)
    except (OSError, ValueError):
        return None
    is_sound = len(found) == variant.test_images and bool(np.isfinite(found["confidence"]).all())
    return found if is_sound else None


def changes_of(run: Run, variant: Variant, home: Workspace) -> tuple[list[Change], Part]:
    """Returns which test images a variant answers rightly and the baseline wrongly, or the other way round,
    and the test part. Raises BadInput with a sentence where that can't be shown.
    """
    baseline = next((v for v in run.variants if v.id == "baseline"), None)
    if run.experiment.dataset is None or baseline is None or variant.accuracy is None:
        raise BadInput("Not recorded in this run: there were no labelled test images.")
    folder = home.folder(run.id)
    before, after = answers_of(baseline, folder), answers_of(variant, folder)
    if before is None or after is None:
        raise BadInput(
            "Not recorded in this run: an earlier version made it. Run it again to see which images changed."
        )
    model = run.experiment.model
    test = datasets.load(
        run.experiment.dataset,
        home.home,
        ("test",),
        classes=model.classes,
        **wanted(run.experiment.dataset, model),
    )["test"]
    known = float(np.mean(after["answer"] == test.labels)) if len(after) == len(test.labels) else None
    if known is None or abs(known - variant.accuracy) > 1e-6:
        raise BadInput("The data set is no longer the one that this run was measured on.")
    return changes(test.labels, before, after), test
