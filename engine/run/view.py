"""A run as a page shows it: `fold` turns what happened into lines, bars and seconds left.

To look changes nothing: see `jobs.tick` for what keeps the queue moving.
"""

import time
from dataclasses import dataclass, field

from engine.events import (
    Event,
    LineChanged,
    Logged,
    PlanMade,
    ProgressMade,
    State,
    last_state,
    seconds_at_work,
)
from engine.run.plan import needs_sensitivity
from engine.store.workspace import ENDED, Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment, Variant

USUAL_S = 10.0  # a line's weight in the whole before the run's plan is known


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
    """A run as a page shows it, at one moment. `queue_place` is 1 for the next one to start."""

    id: str
    state: State
    reason: str
    experiment: Experiment
    techniques: list[TechniqueView]
    fraction: float
    elapsed_s: float
    remaining_s: float | None
    queue_place: int | None
    log: list[str]


def view_of(run_id: str, workspace: Workspace) -> RunView:
    """Reads a run for display. Raises BadInput for an unknown id."""
    experiment, log = workspace.experiment(run_id), workspace.log(run_id)
    events = log.read()
    found = fold(run_id, experiment, events, workspace.variants(run_id), time.time())
    found.queue_place = queue_place(run_id, workspace) if found.state == "queued" else None
    if log.unread:
        found.log.append(_left_out(log.unread))
    return found


def _left_out(lines: int) -> str:
    one = lines == 1
    return (
        f"{lines} line{'' if one else 's'} of this log {'is' if one else 'are'} damaged or of another version"
        " and left out."
    )


def queue_place(run_id: str, workspace: Workspace) -> int | None:
    """Returns 1 for the next run to start, 2 for the one after …, None when it isn't waiting."""
    waiting = [row["id"] for row in reversed(workspace.runs()) if row["state"] == "queued"]
    return waiting.index(run_id) + 1 if run_id in waiting else None


def fold(
    run_id: str, experiment: Experiment, events: list[Event], variants: list[Variant], now: float
) -> RunView:
    """Returns what events and variants come to at the time `now`, as time.time() tells it."""
    state = last_state(events)
    if state.state in ENDED:
        now = events[-1].time if events else 0.0
    lines = {name: TechniqueView(name, title) for name, title in _titles(experiment).items()}
    _replay(lines, events, now)
    for variant in variants:
        if variant.technique in lines:
            lines[variant.technique].variants.append(variant)
    expected = next((e.seconds for e in reversed(events) if isinstance(e, PlanMade)), {})
    fraction, remaining = _overall(lines, expected)
    return RunView(
        id=run_id,
        state=state.state,
        reason=state.reason,
        experiment=experiment,
        techniques=list(lines.values()),
        fraction=1.0 if state.state == "done" else fraction,
        elapsed_s=round(seconds_at_work(events, now), 2),
        remaining_s=None if state.state in ENDED else remaining,
        queue_place=None,
        log=[f"{e.technique}: {e.text}" for e in events if isinstance(e, Logged)],
    )


def _titles(experiment: Experiment) -> dict[str, str]:
    """Returns the titles of a run's lines by id, in the order of the work. What is done around the techniques
    is a line like any other, so that no wait goes unexplained; a technique of another version keeps its id.
    """
    lines = {"baseline": "Baseline"}
    for name in experiment.techniques:
        if needs_sensitivity([name]):
            lines.setdefault("sensitivity", "Sensitivity of each layer")
        lines[name] = TECHNIQUES[name].title if name in TECHNIQUES else name
    lines |= {"timing": "Final timing of all variants"}
    if experiment.constraints.max_robust_drop_pp is not None:
        lines["robustness"] = "Accuracy on damaged pictures"
    return lines


def _replay(lines: dict[str, TechniqueView], events: list[Event], now: float) -> None:
    """Replays events into the lines; `now` ends the clock of a line that is still at work."""
    began: dict[str, float] = {}
    for event in events:
        if not isinstance(event, LineChanged | ProgressMade) or event.technique not in lines:
            continue
        line = lines[event.technique]
        if isinstance(event, ProgressMade):
            line.fraction, line.text, line.remaining_s = event.fraction, event.text, event.remaining_s
            continue
        line.status, line.reason, line.remaining_s = event.status, event.reason, None
        if event.status == "working":
            began[line.id], line.fraction = event.time, 0.0
        else:
            line.fraction, line.elapsed_s = 1.0, event.time - began.get(line.id, event.time)
    for line in lines.values():
        if line.status == "working":
            line.elapsed_s = max(0.0, now - began[line.id])


def _overall(lines: dict[str, TechniqueView], expected: dict[str, float]) -> tuple[float, float | None]:
    """Weighs each line by its expected seconds; what is left is what the unfinished ones will take."""
    weights = {name: expected.get(name, USUAL_S) for name in lines}
    total = sum(weights.values())
    done = sum(weights[name] * line.fraction for name, line in lines.items())
    return done / total, (total - done if expected else None)
