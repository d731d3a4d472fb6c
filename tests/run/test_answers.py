"""What each test image was taken for: kept by a real run, and read as untrusted bytes."""

import numpy as np
import pytest

from engine import datasets
from engine.errors import BadInput
from engine.judge.changes import ANSWERS
from engine.run.answers import ENDING, answers_of, changes_of


def test_a_run_keeps_the_answers_that_its_figures_come_from(digits_run):
    labels = datasets.load("digits", digits_run.workspace.home, ("test",))["test"].labels
    done = [v for v in digits_run.run.variants if v.status == "done"]
    for variant in done:
        found = answers_of(variant, digits_run.folder)
        assert np.mean(found["answer"] == labels) == pytest.approx(variant.accuracy)
        assert found["confidence"].min() >= 0.1 and found["confidence"].max() <= 1
        changed, test = changes_of(digits_run.run, variant, digits_run.workspace)
        lost = sum(c.direction == "lost" for c in changed)
        dropped = 100 * (2 * lost - len(changed)) / len(test.labels)
        assert dropped == pytest.approx(variant.accuracy_drop_pp, abs=1e-4)


def test_what_a_hostile_child_left_is_not_read(digits_run):
    variant = digits_run.variant("ptq_int8")
    path = digits_run.file("ptq_int8").with_suffix(ENDING)
    good = path.read_bytes()
    broken = np.frombuffer(good, ANSWERS).copy()
    broken["confidence"][3] = np.nan
    try:
        for bad in (b"", good[:-1], good * 2, broken.tobytes()):
            path.write_bytes(bad)
            assert answers_of(variant, digits_run.folder) is None
        with pytest.raises(BadInput, match="Not recorded in this run"):
            changes_of(digits_run.run, variant, digits_run.workspace)
        path.unlink()
        path.symlink_to(digits_run.file("baseline").with_suffix(ENDING))
        assert answers_of(variant, digits_run.folder) is None
    finally:
        path.unlink()
        path.write_bytes(good)


def test_another_data_set_under_the_same_name_is_said(digits_run):
    run = digits_run.run
    variant = digits_run.variant("ptq_int8").model_copy(update={"accuracy": 0.123})
    with pytest.raises(BadInput, match="no longer the one"):
        changes_of(run, variant, digits_run.workspace)
