"""Start, watch, cancel and resume runs from any front. Runs live in processes of their own, outside every
session.

One run works at a time; the others wait in the order they came. No process watches the queue: whoever looks
at it
(a page that polls, a command, a worker that ends) calls `dispatch`, under a lock, which starts what is due
and
resumes a run whose worker was killed.
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
    dispatch(workspace)
    return run_id


def dispatch(workspace: Workspace) -> None:
    """Starts the next queued run if none is at work, and resumes one whose worker died."""
    with workspace.lease("queue") as held:
        if not held:
            return
        rows = [row for row in reversed(workspace.runs()) if row["state"] not in ENDED]
        for row in rows:
            if row["state"] == "running":
                if _is_alive(workspace, row["id"]):
                    return
                if _starts(workspace, row["id"]) > RESUMES:
                    workspace.append(
                        row["id"],
                        {
                            "kind": "state",
                            "state": "failed",
                            "reason": "Its worker was killed again and again; what is finished is kept.",
                        },
                    )
                    continue
            _start_worker(workspace, row["id"])
            return


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
    return sum(e["kind"] == "process" and e["what"] == "worker" for e in workspace.events(run_id))


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
    dispatch(workspace)


def resume(run_id: str, workspace: Workspace) -> None:
    """Goes on with a cancelled or failed run at its first unfinished technique."""
    if workspace.state(run_id) in ("cancelled", "failed"):
        memory.check(workspace.experiment(run_id).model)
        workspace.append(run_id, {"kind": "state", "state": "queued"})
    dispatch(workspace)


def wait(run_id: str, workspace: Workspace, on_event=lambda event: None) -> None:
    """Blocks until the run has ended, handing over each event as it comes."""
    seen = 0
    while True:
        dispatch(workspace)
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
    """Reads a run for display and, in passing, keeps the queue moving. Raises BadInput for an unknown id."""
    if workspace.state(run_id) not in ENDED:
        dispatch(workspace)
    run = workspace.run(run_id)
    events = workspace.events(run_id)
    # the stages around the techniques are lines like any other, so that no wait goes unexplained
    stages = {
        "baseline": "Baseline",
        **{t: TECHNIQUES[t].title for t in run.experiment.techniques},
        "timing": "Final timing of all variants",
    }
    lines = {name: TechniqueView(name, title) for name, title in stages.items()}
    now = time.time() if run.state not in ENDED else events[-1]["time"]
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
