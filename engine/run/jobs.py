"""Start, watch, cancel and resume runs from any front. Runs live in processes of their own, outside every
session.

One run works at a time; the others wait in the order they came. No process watches the queue: a worker that
ends, a server that starts and whoever waits for a run (a page that polls, a command) call `tick`, under a
lock, which starts what is due and resumes a run whose worker was killed. To look at a run changes nothing.
"""

import time
from collections.abc import Callable
from typing import Any

from engine import ask, visitors
from engine.errors import BadInput
from engine.events import Event, ProcessStarted, StateChanged
from engine.run.templates import working_modules
from engine.store import deleted
from engine.store.workspace import ENDED, Workspace
from engine.vocabulary import Experiment
from engine.wall import processes

RESUMES = 3
WAIT_S = 0.1  # between two looks at a run


def start(experiment: Experiment, workspace: Workspace, visitor: str = visitors.OWNER) -> str:
    """Queues a run and returns its id at once; raises BadInput for what `ask.check` refuses, and for what is
    too much of one visitor.
    """
    visitors.tidy(workspace)
    deleted.empty(workspace.home, deleted.KEPT_S)  # a run takes room
    checked = ask.check(experiment)
    visitors.may_start(visitor, workspace)
    run_id = workspace.create(checked, visitor)
    tick(workspace)
    return run_id


def tick(workspace: Workspace) -> None:
    """Keeps the queue moving: starts the oldest waiting run if none is at work, and resumes one whose worker
    died. What can't be started (its memory is gone meanwhile, it can't be read) fails with its sentence."""
    with workspace.lease("queue") as held:
        if not held:
            return
        rows = [row for row in reversed(workspace.runs()) if row["state"] not in ENDED]
        # a resumed run may be older than the one at work: all are looked at before any is started
        if any(row["state"] == "running" and _is_alive(workspace, row["id"]) for row in rows):
            return
        for row in rows:
            if reason := _why_not(workspace, row):
                workspace.append(row["id"], StateChanged(state="failed", reason=reason))
                continue
            _start_worker(workspace, row["id"])
            return


def _why_not(workspace: Workspace, row: dict[str, Any]) -> str:
    """Returns why a run can't be started now, or an empty string."""
    if row["state"] == "running" and len(_workers(workspace, row["id"])) > RESUMES:
        return "Its worker was killed again and again; what is finished is kept."
    try:
        ask.check(workspace.experiment(row["id"]))  # hours may have passed since it was asked for
    except BadInput as error:
        return str(error)
    return ""


def _start_worker(workspace: Workspace, run_id: str) -> None:
    workspace.append(run_id, StateChanged(state="running"))
    log = workspace.folder(run_id) / "worker.log"
    modules = working_modules(workspace.experiment(run_id))
    worker = processes.start_detached("engine.run.worker", (run_id, *modules), workspace.home, log)
    workspace.append(run_id, ProcessStarted(**worker, what="worker"))


def _workers(workspace: Workspace, run_id: str) -> list[ProcessStarted]:
    """Returns the run's workers since it was last queued: each time that it is asked to go on counts anew."""
    found: list[ProcessStarted] = []
    for event in workspace.events(run_id):
        if isinstance(event, StateChanged) and event.state == "queued":
            found = []
        if isinstance(event, ProcessStarted) and event.what == "worker":
            found.append(event)
    return found


def _is_alive(workspace: Workspace, run_id: str) -> bool:
    workers = _workers(workspace, run_id)
    return bool(workers) and processes.lives(workers[-1].model_dump())


def cancel(run_id: str, workspace: Workspace) -> None:
    """Stops every process of a run within 2 seconds and keeps what is finished; an ended run stays as it
    is.
    """
    if workspace.state(run_id) in ENDED:
        return
    # the state comes first: a worker that sees its children die then knows why
    workspace.append(run_id, StateChanged(state="cancelled", reason="You cancelled it."))
    started = (event for event in workspace.events(run_id) if isinstance(event, ProcessStarted))
    processes.kill_noted(*(event.model_dump() for event in started))
    tick(workspace)


def resume(run_id: str, workspace: Workspace) -> None:
    """Goes on with a cancelled or failed run at its first unfinished technique."""
    if workspace.state(run_id) in ("cancelled", "failed"):
        ask.check(workspace.experiment(run_id))
        visitors.may_start(workspace.owner_of(run_id), workspace)
        workspace.append(run_id, StateChanged(state="queued"))
    tick(workspace)


def finish(run_id: str, workspace: Workspace, on_event: Callable[[Event], None] = lambda event: None) -> None:
    """Waits as `wait` does; whatever interrupts that cancels the run, and what is finished is kept."""
    try:
        wait(run_id, workspace, on_event)
    except BaseException:
        cancel(run_id, workspace)
        raise


def wait(run_id: str, workspace: Workspace, on_event: Callable[[Event], None] = lambda event: None) -> None:
    """Blocks until the run has ended, handing over each event as it comes."""
    seen = 0
    while True:
        tick(workspace)
        events = workspace.events(run_id)
        for event in events[seen:]:
            on_event(event)
        seen = len(events)
        if workspace.state(run_id) in ENDED:
            return
        time.sleep(WAIT_S)
