"""What one visitor of a public host may take: settled here for pages and API alike.

A visitor is a word, made of a key, of a login or of a browser's cookie so that it can't be read out of it.
OWNER, the empty word, is whoever the machine belongs to: the command line, EDGEWISE_API_KEY, and everybody
where the host is not public. An owner has no limits.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from engine import watch
from engine.errors import BadInput, EdgewiseError, TooMuch
from engine.host import is_public
from engine.store import uploads
from engine.store.workspace import ENDED, Workspace

OWNER = ""
DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60
SOON_S = 60  # when to ask again about what ends by itself
MOST_COUNTED = 10_000  # visitors whose pace is remembered


@dataclass(frozen=True)
class Limits:
    """What a host allows; each is set by EDGEWISE_ and its name in capitals."""

    most_runs: int = 2  # of one visitor, waiting or at work
    most_waiting: int = 20  # of all visitors
    most_an_hour: int = 60  # runs, trainings and files of one visitor
    most_calls_a_minute: int = 240  # of the API, by one visitor
    most_upload_mb: int = 1_000  # of one visitor
    kept_days: int = 7  # a visitor's runs, and uploads that none uses


def limits() -> Limits:
    """Returns what this host allows; raises EdgewiseError where a variable holds no number."""
    return Limits(**{field.name: _number(field.name, field.default) for field in fields(Limits)})


def _number(name: str, default: Any) -> int:
    given = os.environ.get(f"EDGEWISE_{name.upper()}", "").strip() or str(default)
    if not given.isdecimal():
        raise EdgewiseError(f"EDGEWISE_{name.upper()} is {given!r}: set it to a whole number.")
    return int(given)


def known(kind: Literal["key", "login", "cookie", "address"], name: str) -> str:
    """Returns the word for a visitor who is known by this."""
    return hashlib.sha256(f"{kind}:{name}".encode()).hexdigest()[:16]


def has_limits(visitor: str) -> bool:
    """Tells whether anything is limited for this visitor."""
    return visitor != OWNER and is_public()


# ---- what is asked before something is done; each raises TooMuch where that is too much --------------------


def may_queue(visitor: str, workspace: Workspace) -> None:
    """Lets a visitor ask for one more run; nothing is counted yet."""
    if not has_limits(visitor):
        return
    allowed, rows = limits(), [row for row in workspace.runs() if row["state"] not in ENDED]
    if sum(row["owner"] == visitor for row in rows) >= allowed.most_runs:
        raise TooMuch(
            f"This host lets one visitor have {allowed.most_runs} runs that wait or are at work: wait until"
            " one has ended, or cancel one.",
            SOON_S,
        )
    if len(rows) >= allowed.most_waiting:
        raise TooMuch(f"{len(rows)} runs wait here, as many as may: try again in a few minutes.", SOON_S)


def may_start(visitor: str, workspace: Workspace) -> None:
    """Lets a visitor have one more run, and counts it."""
    may_queue(visitor, workspace)
    may_work(visitor)


def may_work(visitor: str) -> None:
    """Lets a visitor have something opened, trained or run."""
    if has_limits(visitor):
        most = limits().most_an_hour
        text = f"This host takes {most} files and runs of one visitor in an hour: go on later."
        PACE.count(visitor, "work", most, HOUR_S, text)


def may_call(visitor: str) -> None:
    """Lets a visitor ask the API once more."""
    if has_limits(visitor):
        most = limits().most_calls_a_minute
        text = f"This host answers {most} calls of one visitor in a minute: ask less often."
        PACE.count(visitor, "calls", most, MINUTE_S, text)


def may_send(visitor: str, size: int, home: Path) -> None:
    """Lets a visitor send a file of so many bytes."""
    if not has_limits(visitor):
        return
    most = limits().most_upload_mb
    if uploads.bytes_of(visitor, home) + size > most * 1_000_000:
        watch.count("visitor_limit")
        raise TooMuch(
            f"This host keeps {most:,} MB of one visitor's files: what no run uses goes after"
            f" {limits().kept_days} days, so send a smaller one or come back.",
            DAY_S,
        )
    may_work(visitor)


def may_change(visitor: str, run_id: str, workspace: Workspace) -> bool:
    """Tells whether a visitor may stop, go on with or delete a run; whoever has its id may look at it."""
    return not has_limits(visitor) or workspace.owner_of(run_id) == visitor


# ---- what goes by itself -----------------------------------------------------------------------------------


def kept_until(row: dict[str, Any]) -> float | None:
    """Returns when a run of the list goes, in seconds since 1970; None where it stays."""
    return row["created"] + limits().kept_days * DAY_S if has_limits(row["owner"]) else None


def tidy(workspace: Workspace) -> None:
    """Deletes visitors' runs and uploads that have been kept as long as this host does."""
    if not is_public():
        return
    now = time.time()
    for row in workspace.runs():
        until = kept_until(row)
        if until is not None and until < now and row["state"] in ENDED:
            with suppress(BadInput):  # someone went on with it a moment ago
                workspace.delete(row["id"])
    uploads.remove_unused(workspace.home, limits().kept_days * DAY_S)


# ---- how often somebody asks -------------------------------------------------------------------------------


class Pace:
    """Counts what each visitor asks for, in windows of time, in this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._lock = clock, threading.Lock()
        self._counted: dict[tuple[str, str], tuple[float, int]] = {}

    def count(self, visitor: str, what: str, most: int, seconds: float, sentence: str) -> None:
        """Counts one more; raises TooMuch with the sentence where that is more than `most` in a window."""
        key, now = (visitor, what), self._clock()
        with self._lock:
            began, count = self._counted.pop(key, (now, 0))
            if now - began >= seconds:
                began, count = now, 0
            is_more = count >= most
            self._counted[key] = (began, count + (not is_more))  # now the last one of all
            if len(self._counted) > MOST_COUNTED:  # who asked longest ago is forgotten
                del self._counted[next(iter(self._counted))]
        if is_more:
            raise TooMuch(sentence, began + seconds - now)


PACE = Pace()
