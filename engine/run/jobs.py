"""Start, watch, cancel and resume runs from any front. Runs live in processes of their own, outside every
session.

One run works at a time; the others wait in the order they came. No process watches the queue: a worker that
ends, a server that starts and whoever waits for a run (a page that polls, a command) call `tick`, under a
lock, which starts what is due and resumes a run whose worker was killed. To look at a run changes nothing.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from engine import memory
from engine.errors import BadInput
from engine.run.plan import needs_sensitivity
from engine.store.workspace import ENDED, Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment, Variant
from engine.wall.sandbox import identity

ROOT = Path(__file__).resolve().parents[2]
RESUMES = 3


@dataclass
class TechniqueView:
    """One line of the run page. `status` is waiting, working, done, failed or skipped."""

    id: str
    title: str
    status: str = "waiting"
    fraction: float = 0.0
    text: str = ""
    reason: str = ""
    elapsed_s: float = 0.0
    remaining_s: float | None = None
    variants: list[Variant] = field(default_factory=list)


@dataclass
class RunView:
    """A run as a page shows it, read from the workspace at one moment. `queue_place` is 1 for the next
    one.
    """

    id: str
    state: str
    reason: str
    experiment: Experiment
    techniques: list[TechniqueView]
    fraction: float
    elapsed_s: float
    remaining_s: float | None
    queue_place: int | None
    log: list[str]


def start(experiment: Experiment, workspace: Workspace) -> str:
    """Queues a run and returns its id at once; raises BadInput when this machine has too little memory for
    it.
    """
    memory.check(experiment.model)
    run_id = workspace.create(experiment)
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
                workspace.append(row["id"], {"kind": "state", "state": "failed", "reason": reason})
                continue
            _start_worker(workspace, row["id"])
            return


def _why_not(workspace: Workspace, row: dict[str, Any]) -> str:
    """Returns why a run can't be started now, or an empty string."""
    if row["state"] == "running" and _starts(workspace, row["id"]) > RESUMES:
        return "Its worker was killed again and again; what is finished is kept."
    try:
        memory.check(workspace.experiment(row["id"]).model)  # hours may have passed since it was asked for
    except BadInput as error:
        return str(error)
    return ""


def _start_worker(workspace: Workspace, run_id: str) -> None:
    workspace.append(run_id, {"kind": "state", "state": "running"})
    with open(workspace.folder(run_id) / "worker.log", "ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "engine.run.worker", run_id],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"EDGEWISE_HOME": str(workspace.home)},
            start_new_session=True,
        )
    workspace.append(run_id, {"kind": "process", **identity(worker.pid), "what": "worker"})
    _reap_later(worker)


def _reap_later(worker: subprocess.Popen) -> None:
    """Waits for the worker in a thread, so that an ended one never stays as a zombie of the server."""
    import threading

    threading.Thread(target=worker.wait, daemon=True).start()


def _starts(workspace: Workspace, run_id: str) -> int:
    """Counts the workers since the run was last queued: each time that it is asked to go on counts anew."""
    count = 0
    for event in workspace.events(run_id):
        if event["kind"] == "state" and event["state"] == "queued":
            count = 0
        count += event["kind"] == "process" and event["what"] == "worker"
    return count


def _is_alive(workspace: Workspace, run_id: str) -> bool:
    workers = [e for e in workspace.events(run_id) if e["kind"] == "process" and e["what"] == "worker"]
    return bool(workers) and _is_same(workers[-1])


def _is_same(process: dict[str, Any]) -> bool:
    """Tells whether a recorded process still lives, and is not another one with its number."""
    try:
        found = psutil.Process(process["pid"])
        return found.create_time() == process["started"] and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def cancel(run_id: str, workspace: Workspace) -> None:
    """Stops every process of a run within 2 seconds and keeps what is finished; an ended run stays as it
    is.
    """
    if workspace.state(run_id) in ENDED:
        return
    # the state comes first: a worker that sees its children die then knows why
    workspace.append(run_id, {"kind": "state", "state": "cancelled", "reason": "You cancelled it."})
    processes = [e for e in workspace.events(run_id) if e["kind"] == "process"]
    for process in processes:
        if _is_same(process):
            try:
                os.killpg(process["pid"], signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    tick(workspace)


def resume(run_id: str, workspace: Workspace) -> None:
    """Goes on with a cancelled or failed run at its first unfinished technique."""
    if workspace.state(run_id) in ("cancelled", "failed"):
        memory.check(workspace.experiment(run_id).model)
        workspace.append(run_id, {"kind": "state", "state": "queued"})
    tick(workspace)


def wait(run_id: str, workspace: Workspace, on_event=lambda event: None) -> None:
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
        time.sleep(0.3)


def queue_place(run_id: str, workspace: Workspace) -> int | None:
    """Returns 1 for the next run to start, 2 for the one after …, None when it isn't waiting."""
    waiting = [row["id"] for row in reversed(workspace.runs()) if row["state"] == "queued"]
    return waiting.index(run_id) + 1 if run_id in waiting else None


def view(run_id: str, workspace: Workspace) -> RunView:
    """Reads a run for display, and changes nothing. Raises BadInput for an unknown id."""
    run = workspace.run(run_id)
    events = workspace.events(run_id)
    # the stages around the techniques are lines like any other, so that no wait goes unexplained
    lines = {name: TechniqueView(name, title) for name, title in _stages(run.experiment.techniques).items()}
    now = time.time() if run.state not in ENDED else events[-1]["time"] if events else run.created
    _fold(lines, events, now)
    for variant in run.variants:
        if variant.technique in lines:
            lines[variant.technique].variants.append(variant)
    expected = next((e["seconds"] for e in reversed(events) if e["kind"] == "plan"), {})
    fraction, remaining = _overall(lines, expected)
    return RunView(
        run.id,
        run.state,
        run.reason,
        run.experiment,
        list(lines.values()),
        1.0 if run.state == "done" else fraction,
        run.seconds,
        None if run.state in ENDED else remaining,
        queue_place(run_id, workspace),
        [f"{e.get('technique', '')}: {e['text']}" for e in events if e["kind"] == "log"],
    )


def _stages(techniques: list[str]) -> dict[str, str]:
    """Returns the titles of a run's lines by id, in the order of the work."""
    lines = {"baseline": "Baseline"}
    for name in techniques:
        if needs_sensitivity([name]):
            lines.setdefault("sensitivity", "Sensitivity of each layer")
        lines[name] = TECHNIQUES[name].title
    return lines | {"timing": "Final timing of all variants"}


def _fold(lines: dict[str, TechniqueView], events: list[dict], now: float) -> None:
    """Replays events into the lines; `now` ends the clock of a line that is still at work."""
    began: dict[str, float] = {}
    for event in events:
        line = lines.get(event.get("technique", ""))
        if line is None:
            continue
        if event["kind"] == "technique":
            line.status, line.reason = event["status"], event.get("reason", "")
            if line.status == "working":
                began[line.id] = event["time"]
                line.fraction, line.remaining_s = 0.0, None
            else:
                line.fraction, line.remaining_s = 1.0, None
                line.elapsed_s = event["time"] - began.get(line.id, event["time"])
        elif event["kind"] == "progress":
            line.fraction, line.text = event["fraction"], event["text"]
            line.remaining_s = event.get("remaining_s")
    for line in lines.values():
        if line.status == "working":
            line.elapsed_s = now - began[line.id]


def _overall(lines: dict[str, TechniqueView], expected: dict[str, float]) -> tuple[float, float | None]:
    """Weighs each line by its expected seconds; time left is what the unfinished ones are still expected to
    take.
    """
    weights = {name: expected.get(name, 10.0) for name in lines}
    total = sum(weights.values())
    done = sum(weights[name] * line.fraction for name, line in lines.items())
    return done / total, (total - done if expected else None)
