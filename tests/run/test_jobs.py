"""Runs outside every session: queued, watched, cancelled, killed and resumed, with real workers on digits."""

import os
import shutil
import signal
import time

import psutil
import pytest

from engine import events, memory
from engine.errors import BadInput
from engine.run import jobs, worker
from engine.run.view import queue_place, view_of
from engine.store.files import write_json
from engine.store.workspace import ENDED, Workspace
from engine.techniques import TECHNIQUES
from engine.wall.processes import identity, lives


def until(condition, timeout_s: float = 120):
    """Waits for a true value and returns it; fails the test when none comes."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass in time")


def processes(workspace, run_id: str, what: str) -> list[events.ProcessStarted]:
    return [e for e in workspace.events(run_id) if isinstance(e, events.ProcessStarted) and e.what == what]


def status_of(workspace, run_id: str) -> dict[str, str]:
    return {v.id: v.status for v in workspace.variants(run_id)}


def everything_of(workspace, run_id: str) -> list[psutil.Process]:
    """Returns the run's worker with all that descends from it."""
    worker = psutil.Process(processes(workspace, run_id, "worker")[-1].pid)
    return [worker, *worker.children(recursive=True)]


def alive(found: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def idle(workspace: Workspace, asked, **changes) -> str:
    """Queues a run without starting anything."""
    return workspace.create(asked(**changes))


@pytest.fixture
def nothing_starts(monkeypatch):
    """Lets the queue be looked at in peace."""
    started = []
    monkeypatch.setattr(
        jobs,
        "_start_worker",
        lambda workspace, run_id: (
            started.append(run_id),
            workspace.append(run_id, events.StateChanged(state="running")),
            workspace.append(run_id, events.ProcessStarted(what="worker", **identity(os.getpid()))),
        ),
    )
    return started


def test_one_run_at_a_time_in_the_order_they_came(workspace, asked, nothing_starts):
    first, second, third = (jobs.start(asked(), workspace) for _ in range(3))
    assert nothing_starts == [first]
    assert [queue_place(run, workspace) for run in (first, second, third)] == [None, 1, 2]
    assert [view_of(run, workspace).queue_place for run in (first, second, third)] == [None, 1, 2]
    workspace.append(first, events.StateChanged(state="done"))
    jobs.tick(workspace)
    assert nothing_starts == [first, second]
    assert [queue_place(run, workspace) for run in (first, second, third)] == [None, None, 1]


def test_a_resumed_older_run_does_not_start_beside_a_living_newer_one(workspace, asked, nothing_starts):
    older, newer = (jobs.start(asked(), workspace) for _ in range(2))
    jobs.cancel(older, workspace)
    assert nothing_starts == [older, newer]
    jobs.resume(older, workspace)
    assert nothing_starts == [older, newer]
    assert [workspace.state(run) for run in (older, newer)] == ["queued", "running"]
    workspace.append(newer, events.StateChanged(state="done"))
    jobs.tick(workspace)
    assert nothing_starts == [older, newer, older]


def test_a_run_whose_memory_is_gone_when_its_turn_comes_fails_and_the_next_starts(
    workspace, asked, nothing_starts, monkeypatch
):
    first, second = (jobs.start(asked(), workspace) for _ in range(2))
    monkeypatch.setattr(memory, "free_bytes", lambda: 123_000_000)
    workspace.append(first, events.StateChanged(state="done"))
    jobs.tick(workspace)
    run = workspace.run(second)
    assert (nothing_starts, run.state) == ([first], "failed") and "123 MB are free" in run.reason


def test_looking_at_a_run_starts_nothing(workspace, asked, nothing_starts):
    run_id = idle(workspace, asked)
    before = workspace.events(run_id)
    assert view_of(run_id, workspace).queue_place == 1
    assert nothing_starts == [] and workspace.events(run_id) == before
    jobs.tick(workspace)
    assert nothing_starts == [run_id]


def test_each_time_a_run_is_asked_to_go_on_it_may_be_resumed_anew(workspace, asked, nothing_starts):
    run_id = jobs.start(asked(), workspace)
    for _ in range(jobs.RESUMES + 1):
        jobs.cancel(run_id, workspace)
        jobs.resume(run_id, workspace)
    dead = events.ProcessStarted(pid=2**22 + 1, started=0.0, what="worker")
    workspace.append(run_id, dead)
    jobs.tick(workspace)
    assert workspace.state(run_id) == "running"


def test_a_run_whose_events_are_lost_is_a_view(workspace, asked):
    run_id = idle(workspace, asked)
    (workspace.folder(run_id) / "events.jsonl").unlink()
    view = view_of(run_id, workspace)
    assert (view.state, view.elapsed_s) == ("failed", 0) and "events are lost" in view.reason


def test_a_cancelled_run_leaves_the_queue(workspace, asked, nothing_starts):
    _first, second, third = (jobs.start(asked(), workspace) for _ in range(3))
    jobs.cancel(second, workspace)
    view = view_of(second, workspace)
    assert (view.state, view.reason, view.queue_place) == ("cancelled", "You cancelled it.", None)
    assert queue_place(third, workspace) == 1
    jobs.cancel(second, workspace)
    assert workspace.state(second) == "cancelled"


def test_a_worker_that_dies_again_and_again_fails_its_run(workspace, asked, monkeypatch):
    dead = events.ProcessStarted(pid=2**22 + 1, started=0.0, what="worker")
    monkeypatch.setattr(
        jobs,
        "_start_worker",
        lambda workspace, run_id: (
            workspace.append(run_id, events.StateChanged(state="running")),
            workspace.append(run_id, dead),
        ),
    )
    run_id = jobs.start(asked(), workspace)
    for _ in range(10):
        jobs.tick(workspace)
    assert len(processes(workspace, run_id, "worker")) == jobs.RESUMES + 1
    assert "killed again and again" in workspace.run(run_id).reason


def test_a_number_that_another_process_has_now_is_not_the_worker():
    own = identity(os.getpid())
    assert lives(own)
    assert not lives({**own, "started": own["started"] - 60})


def test_too_little_memory_is_a_sentence_with_both_figures(workspace, asked, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 123_000_000)
    with pytest.raises(
        BadInput, match=r"needs up to \d+ MB of memory and 123 MB are free: close other programs"
    ):
        jobs.start(asked(), workspace)
    assert workspace.runs() == [] and os.listdir(workspace.home / "runs") == []


def test_an_unknown_run_is_a_sentence_for_every_question(workspace):
    for ask in (view_of, jobs.cancel, jobs.resume, jobs.wait):
        with pytest.raises(BadInput, match="No run has the id"):
            ask("unknown", workspace)


def test_a_run_that_cannot_be_read_holds_up_no_other(workspace, asked):
    broken = idle(workspace, asked)
    (workspace.folder(broken) / "experiment.json").write_text("{")
    good = jobs.start(asked(techniques=["fp16"]), workspace)
    until(lambda: workspace.state(broken) == "failed" and processes(workspace, good, "worker"), 60)
    jobs.cancel(good, workspace)


@pytest.mark.slow
def test_cancel_stops_everything_within_2_seconds_and_keeps_what_is_finished(workspace, asked):
    run_id = jobs.start(asked(techniques=["prune_structured"], time_budget_s=600), workspace)
    waiting = jobs.start(asked(techniques=["fp16"]), workspace)
    assert queue_place(waiting, workspace) == 1
    until(lambda: processes(workspace, run_id, "prune_structured"))
    at_work = until(lambda: (found := everything_of(workspace, run_id))[1:] and found)
    began = time.monotonic()
    jobs.cancel(run_id, workspace)
    until(lambda: not alive(at_work), 2)
    assert time.monotonic() - began < 2
    view = view_of(run_id, workspace)
    assert (view.state, view.reason) == ("cancelled", "You cancelled it.")
    assert status_of(workspace, run_id) == {"baseline": "done"}
    assert workspace.variants(run_id)[0].accuracy > 0.9
    until(lambda: workspace.state(waiting) == "running", 10)  # the next in the queue takes its turn
    time.sleep(1)
    assert workspace.state(run_id) == "cancelled"


@pytest.mark.slow
def test_a_killed_technique_fails_alone(workspace, asked):
    run_id = jobs.start(
        asked(techniques=["ptq_int8", "prune_unstructured", "fp16"], time_budget_s=300), workspace
    )
    until(
        lambda: "prune_unstructured@0.3" in status_of(workspace, run_id)
    )  # in the middle: some are made, most are not
    os.kill(processes(workspace, run_id, "prune_unstructured")[0].pid, signal.SIGKILL)
    jobs.wait(run_id, workspace)
    run = workspace.run(run_id)
    assert run.state == "done", run.reason
    found = {v.id: v for v in run.variants}
    assert (
        found["fp16"].status == found["ptq_int8"].status == found["prune_unstructured@0.3"].status == "done"
    )
    killed = found["prune_unstructured@0.9,iterative"]
    assert killed.status == "failed" and "SIGKILL" in killed.reason
    assert found["prune_unstructured@0.3"].accuracy > 0.9  # what was made before is measured like any other
    assert run.recommendation.winner in found


@pytest.mark.slow
def test_a_killed_worker_resumes_where_it_was_and_makes_the_same_files(workspace, asked):
    experiment = asked(techniques=["fp16", "qat_int8", "prune_unstructured"])
    unbroken, broken = jobs.start(experiment, workspace), ""
    jobs.wait(unbroken, workspace)
    assert workspace.run(unbroken).state == "done", workspace.run(unbroken).reason

    broken = workspace.create(experiment)
    # steps follow from the measured speed of training, which no two measurements agree on
    shutil.copy(
        workspace.folder(unbroken) / "cache" / "facts.json", workspace.folder(broken) / "cache" / "facts.json"
    )
    jobs.tick(workspace)
    until(lambda: processes(workspace, broken, "prune_unstructured"))
    at_work = everything_of(workspace, broken)
    os.kill(at_work[0].pid, signal.SIGKILL)
    until(lambda: not alive(at_work), 3)  # its children went with it
    jobs.wait(broken, workspace)

    assert workspace.run(broken).state == "done", workspace.run(broken).reason
    assert len(processes(workspace, broken, "worker")) == 2
    assert len(processes(workspace, broken, "fp16")) == len(
        processes(workspace, unbroken, "fp16")
    )  # not done twice
    assert len(processes(workspace, broken, "qat_int8")) == len(processes(workspace, unbroken, "qat_int8"))

    def files(run_id: str) -> dict[str, str]:
        return {v.id: v.artifacts[0].sha256 for v in workspace.variants(run_id)}

    assert len(files(unbroken)) == 12
    assert files(broken) == files(unbroken)


def test_view_shows_every_stage_and_no_negative_time(digits_run):
    view = view_of(digits_run.id, digits_run.workspace)
    lines = {line.id: line for line in view.techniques}
    techniques = list(digits_run.run.experiment.techniques)
    before = next(i for i, name in enumerate(techniques) if "sensitivity" in TECHNIQUES[name].needs)
    techniques.insert(before, "sensitivity")
    assert list(lines) == ["baseline", *techniques, "timing"]
    assert all(line.status == "done" and line.fraction == 1 and line.elapsed_s > 0 for line in lines.values())
    assert (view.fraction, view.remaining_s, view.state) == (1.0, None, "done")
    assert {v.id for line in view.techniques for v in line.variants} == {
        v.id for v in digits_run.run.variants
    }


def test_a_cut_off_view_is_a_view(workspace, asked):
    """A worker that was killed in the middle of a line leaves events that can still be shown."""
    run_id = idle(workspace, asked, techniques=["fp16"])
    workspace.append(run_id, events.StateChanged(state="running"))
    workspace.append(run_id, events.LineChanged(technique="fp16", status="working"))
    workspace.append(run_id, events.ProgressMade(technique="fp16", fraction=0.5, text="half", remaining_s=3))
    workspace.append(run_id, events.StateChanged(state="cancelled"))
    with open(workspace.folder(run_id) / "events.jsonl", "a") as file:
        file.write('{"time": 1, "kind": "progr')
    line = next(line for line in view_of(run_id, workspace).techniques if line.id == "fp16")
    assert (line.status, line.fraction, line.text) == ("working", 0.5, "half")


def test_what_can_not_be_read_of_a_log_is_told_in_the_log(workspace, asked):
    run_id = idle(workspace, asked)
    with open(workspace.folder(run_id) / "events.jsonl", "a") as file:
        file.write(
            '{"time": 1, "kind": "memory"}\n{"time": 1, "kind": "teleport"}\n{"time": 1, "kind": "log"}\n'
        )
    view = view_of(run_id, workspace)
    assert view.state == "queued" and view.log[-1].startswith("3 lines of this log are damaged")


def test_a_resumed_run_is_queued_again(workspace, asked, nothing_starts):
    run_id = jobs.start(asked(), workspace)
    jobs.cancel(run_id, workspace)
    jobs.resume(run_id, workspace)
    assert workspace.state(run_id) == "running" and nothing_starts == [run_id, run_id]
    workspace.append(run_id, events.StateChanged(state="done"))
    jobs.resume(run_id, workspace)
    assert workspace.state(run_id) == "done"


@pytest.mark.parametrize("state", ENDED)
def test_a_worker_leaves_an_ended_run_alone(workspace, asked, state, monkeypatch):
    """A run may be cancelled while its worker is still starting."""
    run_id = idle(workspace, asked)
    workspace.append(run_id, events.StateChanged(state=state))
    before = workspace.events(run_id)
    monkeypatch.setattr("engine.run.optimize.optimize", lambda *given: pytest.fail("it went to work"))
    worker.work(run_id)
    assert workspace.events(run_id) == before


def test_a_second_worker_leaves_the_run_to_the_first(workspace, asked, monkeypatch):
    run_id = idle(workspace, asked)
    monkeypatch.setattr("engine.run.optimize.optimize", lambda *given: pytest.fail("it went to work"))
    with workspace.lease(run_id) as held:
        assert held
        worker.work(run_id)
    assert workspace.state(run_id) == "queued"


def test_a_defect_of_ours_ends_the_run_with_a_reason_and_the_queue_goes_on(
    workspace, asked, monkeypatch, nothing_starts
):
    def stumble(*given):
        raise ZeroDivisionError("division by zero")

    first, second = idle(workspace, asked), idle(workspace, asked)
    workspace.append(first, events.StateChanged(state="running"))
    monkeypatch.setattr("engine.run.optimize.optimize", stumble)
    worker.work(first)
    assert workspace.run(first).reason.startswith("An internal error: ZeroDivisionError: division by zero")
    assert nothing_starts == [second]


def test_a_variant_that_was_written_by_halves_is_not_read(workspace, asked):
    run_id = idle(workspace, asked)
    write_json(workspace.folder(run_id) / "variants" / "fp16.json", {})
    (workspace.folder(run_id) / "variants" / "ptq_int8.json").write_text('{"id": "ptq_')
    assert workspace.variants(run_id) == []
