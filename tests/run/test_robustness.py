"""Robustness of a run's variants: asked for, kept, and refused in one sentence."""

import pytest

from engine.errors import BadInput
from engine.judge.printed import robustness_table
from engine.run import robustness
from engine.run.stress import stress
from engine.vocabulary import Constraints, Robustness
from engine.wall import sandbox
from engine.wall.sandbox import Failed

FOUND = {"images": 9, "clean": 0.9, "corrupted": {"blur": [0.9, 0.8, 0.4], "noise": [0.9, 0.7, 0.6]}}


@pytest.fixture
def measured(recorded, monkeypatch):
    """The run "recorded" is there, its data set taken as ready; what the child was asked to measure."""
    monkeypatch.setattr(robustness, "prepare", lambda *asked: None)
    return recorded(robustness, "artifacts", FOUND)


def test_what_was_measured_is_kept_and_not_measured_again(measured, workspace):
    first = robustness.measure_robustness("recorded", workspace)
    assert list(first) == ["baseline", "ptq_int4@mixed"] and measured == [["baseline", "ptq_int4@mixed"]]
    assert robustness.measure_robustness("recorded", workspace) == first and len(measured) == 1
    assert first["baseline"].mean() == pytest.approx(4.3 / 6)
    assert robustness.robustness_of("recorded", workspace) == first
    lines = robustness_table(first).splitlines()
    assert len(lines) == 3 and "90.0  80.0  40.0" in lines[1]


def test_what_can_not_be_measured_is_one_sentence(measured, workspace, monkeypatch):
    with pytest.raises(BadInput, match="no finished variant 'nope'"):
        robustness.measure_robustness("recorded", workspace, ["nope"])
    other = FOUND | {"corrupted": {"rain": [0.5]}}
    for answer in (
        {"baseline": {"clean": 7}},
        {"baseline": FOUND},
        {"baseline": FOUND, "ptq_int4@mixed": FOUND | {"corrupted": {}}},
        {"baseline": FOUND, "ptq_int4@mixed": other},
    ):
        monkeypatch.setattr(sandbox, "run", lambda *a, answer=answer: answer)
        with pytest.raises(Failed, match="something else"):
            robustness.measure_robustness("recorded", workspace)
    assert robustness.robustness_of("recorded", workspace) == {}


def test_the_data_set_of_a_run_from_elsewhere_is_made_ready(measured, workspace, monkeypatch):
    asked = []
    monkeypatch.setattr(robustness, "prepare", lambda dataset, home, *more: asked.append((dataset, home)))
    robustness.measure_robustness("recorded", workspace)
    assert asked == [("digits", workspace.home)]


def test_a_damaged_record_is_measured_anew(measured, workspace):
    (workspace.folder("recorded") / robustness.FILE).write_text('{"baseline": {"clean": "x"}}')
    assert robustness.robustness_of("recorded", workspace) == {}
    assert isinstance(robustness.measure_robustness("recorded", workspace)["baseline"], Robustness)


class AtWork:
    """A recorded run as a supervisor holds it: what it asks, writes and tells is noted."""

    def __init__(self, workspace, **limits):
        run = workspace.run("recorded")
        self.id, self.workspace, self.folder = run.id, workspace, workspace.folder(run.id)
        self.experiment = run.experiment.model_copy(update={"constraints": Constraints(**limits)})
        self.asked, self.told = [], []

    def common(self):
        e = self.experiment
        return {"folder": self.folder, "home": self.workspace.home, "dataset": e.dataset, "model": e.model}

    def ask(self, request, line, limit_s):
        self.asked += list(request.artifacts)
        return {name: FOUND for name in request.artifacts}

    def write(self, variant):
        self.workspace.write_variant(self.id, variant)

    def begin(self, line):
        self.told.append(line)

    def end(self, line, reason=""):
        self.told.append(reason)


def test_a_run_with_a_limit_on_damaged_pictures_measures_what_keeps_the_others(measured, workspace):
    run = AtWork(workspace, max_robust_drop_pp=15.0, max_size_mb=0.2)
    stress(run)
    found = {v.id: v for v in workspace.run("recorded").variants if v.status == "done"}
    small = {v.id for v in found.values() if v.size_bytes <= 200_000}
    assert set(run.asked) == small | {"baseline"} and run.told == ["robustness", ""]
    # clean 0.9, at the middle severity 0.8 and 0.7
    assert all(found[name].robust_drop_pp == pytest.approx(15.0) for name in run.asked)
    assert {name for name in small if found[name].admissible == "yes"} == small
    stress(run)
    assert len(run.asked) == len(small | {"baseline"}), "what is known is not measured again"


def test_without_labelled_images_a_run_goes_on_and_says_why(measured, workspace):
    run = AtWork(workspace, max_robust_drop_pp=15.0)
    run.experiment = run.experiment.model_copy(update={"dataset": None})
    stress(run)
    assert run.asked == [] and "needs labelled images" in run.told[1]
