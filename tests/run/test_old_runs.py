"""Runs that another version of Edgewise wrote: they open, and what can't be read of them costs no more."""

import json
import shutil
from pathlib import Path

import pytest

from engine.errors import BadInput
from engine.run import jobs
from engine.run.view import view_of

RECORDED = Path(__file__).parent / "recorded"  # by the first version, on digits, with most estimates left out
RUN = "recorded"


@pytest.fixture
def folder(workspace) -> Path:
    """A recorded run in the workspace, as if it had always been there."""
    shutil.copytree(RECORDED, workspace.home / "runs" / RUN)
    workspace.rebuild_index()
    return workspace.home / "runs" / RUN


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_recorded_run_opens(workspace, folder):
    run = workspace.run(RUN)
    assert (run.state, [v.id for v in run.variants]) == ("done", ["baseline", "ptq_int4@mixed"])
    assert run.recommendation.winner == "ptq_int4@mixed" and run.sensitivity
    assert run.seconds > 0 and run.peak_memory_bytes > 0
    assert [row["id"] for row in workspace.runs()] == [RUN]
    view = view_of(RUN, workspace)
    lines = {line.id: line for line in view.techniques}
    assert list(lines) == ["baseline", "fp16", "sensitivity", "ptq_int4", "timing"]
    assert {lines[name].status for name in ("baseline", "fp16", "ptq_int4", "timing")} == {"done"}
    assert not any("left out" in text for text in view.log)


def test_names_that_are_gone_and_fields_that_are_new_cost_nothing(workspace, folder):
    change(folder / "experiment.json", techniques=["fp16", "telepathy"], device="abacus")
    change(folder / "variants" / "baseline.json", colour="blue", technique="baseline")
    with open(folder / "events.jsonl", "a") as file:
        file.write('{"time": 1.0, "kind": "technique", "technique": "telepathy", "status": "done"}\n')
        file.write('{"time": 1.0, "kind": "sang", "song": "la"}\n')
    run, view = workspace.run(RUN), view_of(RUN, workspace)
    assert (run.state, run.experiment.device) == ("done", "abacus") and len(run.variants) == 2
    assert [line.title for line in view.techniques if line.id == "telepathy"] == ["telepathy"]
    assert view.log[-1].startswith("1 line of this log is damaged")


def test_a_field_that_is_new_in_what_was_asked_costs_nothing(workspace, folder):
    change(folder / "experiment.json", mood="good")
    assert workspace.run(RUN).experiment.device == "raspberry_pi_4"


def test_a_run_whose_technique_is_gone_is_shown_and_not_resumed(workspace, folder):
    change(folder / "experiment.json", techniques=["fp16", "telepathy"])
    with open(folder / "events.jsonl", "a") as file:
        file.write('{"time": 1.0, "kind": "state", "state": "cancelled"}\n')
    with pytest.raises(BadInput, match="telepathy"):
        jobs.resume(RUN, workspace)
    assert workspace.state(RUN) == "cancelled" and len(workspace.run(RUN).variants) == 2


def test_a_run_of_another_schema_is_one_sentence(workspace, folder):
    change(folder / "experiment.json", schema_version=7)
    with pytest.raises(BadInput, match="was written with schema 7"):
        view_of(RUN, workspace)
    assert workspace.runs() == [] or workspace.runs()[0]["id"] == RUN
