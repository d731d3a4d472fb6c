"""What happens in a run, as typed events: the lines of its `events.jsonl`, which are its only history.

Every event has its `kind` and its `time` (seconds since 1970, when it was made). `technique` names the line
of the run page that an event belongs to: `baseline`, `sensitivity`, a technique's id or `timing`.
"""

import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

State = Literal["queued", "running", "done", "failed", "cancelled"]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class _Event(BaseModel):
    # a field that another version writes is no reason not to read the rest
    model_config = ConfigDict(frozen=True, extra="ignore")

    time: Seconds = Field(default_factory=time.time)


class StateChanged(_Event):
    """The run is queued, running, done, failed or cancelled from now on; the last one holds."""

    kind: Literal["state"] = "state"
    state: State
    reason: str = ""


class ProcessStarted(_Event):
    """A process of the run; `what` is `worker` or the line that a child works for."""

    kind: Literal["process"] = "process"
    pid: int
    started: float | None = None
    what: str


class MemoryPeak(_Event):
    """The run's resident bytes reached a new peak."""

    kind: Literal["memory"] = "memory"
    bytes: int


class PlanMade(_Event):
    """The seconds that each line is expected to take."""

    kind: Literal["plan"] = "plan"
    seconds: dict[str, Seconds]


class LineChanged(_Event):
    """A line of the run page begins or ends."""

    kind: Literal["technique"] = "technique"
    technique: str
    status: Literal["working", "done", "failed", "skipped"]
    reason: str = ""


class VariantWritten(_Event):
    """A variant's file was written: for the first time, or again with more in it."""

    kind: Literal["variant"] = "variant"
    technique: str = ""
    variant: str
    status: Literal["done", "failed", "skipped"] = "done"


class ProgressMade(_Event):
    """How far a line is, 0..1, and how many seconds it will still take."""

    kind: Literal["progress"] = "progress"
    technique: str
    fraction: Annotated[float, Field(ge=0, le=1)]
    text: str = ""
    remaining_s: Seconds | None = None


class Logged(_Event):
    """A sentence for the run's log."""

    kind: Literal["log"] = "log"
    technique: str = ""
    text: str


Event = (
    StateChanged
    | ProcessStarted
    | MemoryPeak
    | PlanMade
    | LineChanged
    | VariantWritten
    | ProgressMade
    | Logged
)
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def read(line: str | bytes) -> Event | None:
    """Returns the event of one line; None for one that is damaged or of an unknown kind."""
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None


def written(event: Event) -> str:
    """Returns an event as one line."""
    return event.model_dump_json() + "\n"


LOST = StateChanged(time=0.0, state="failed", reason="Its events are lost: delete it and run it again.")


def last_state(events: list[Event]) -> StateChanged:
    """Returns the event that says what state the run is in."""
    return next((e for e in reversed(events) if isinstance(e, StateChanged)), LOST)


def seconds_at_work(events: list[Event], now: float) -> float:
    """Sums the spans in which the run was at work; what it lay in the queue, ended or dead counts nothing."""
    total, began, last = 0.0, None, 0.0
    for event in events:
        if isinstance(event, StateChanged):
            if began is not None:
                # "running" once more: its worker was killed and a new one took over, some time later
                total += (last if event.state == "running" else event.time) - began
            began = event.time if event.state == "running" else None
        last = event.time
    total += max(now, last) - began if began is not None else 0.0
    return max(0.0, total)  # where the clock was set back meanwhile
