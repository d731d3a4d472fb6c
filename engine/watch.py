"""What whoever runs a host can watch: a line of JSON for each thing that happens, on standard error, and how
many uploads were refused.

Only names of ours and numbers are told: no file's name or content, no sentence that may quote one, no key,
and of a run's id, which opens the run, the first letters.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from typing import Any, Literal, TextIO

from engine.errors import BadInput

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
SHOWN = 8  # letters of a run's id
Reason = Literal["too_large", "no_room", "visitor_limit", "other_sum", "model_refused", "data_refused"]
LOG = logging.getLogger("edgewise")
LOG.addHandler(logging.NullHandler())  # who does not ask for it hears nothing
REFUSED: Counter[Reason] = Counter()  # uploads, by this process


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        told = {"time": when, "level": record.levelname.lower(), "event": record.msg}
        return json.dumps(told | getattr(record, "told", {}))


def set_up(stream: TextIO | None = None) -> None:
    """Has this process tell what happens, from EDGEWISE_LOG_LEVEL on (INFO where there is no such level)."""
    level = os.environ.get("EDGEWISE_LOG_LEVEL", "").strip().upper()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Line())
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(level if level in LEVELS else "INFO")


def tell(event: str, level: int = logging.INFO, run: str = "", **told: Any) -> None:
    """Tells one thing that happened; `told` holds names of ours and numbers only."""
    about = {"run": run[:SHOWN]} if run else {}
    LOG.log(level, event, extra={"told": about | told})


def refused(reason: Reason, sentence: str) -> BadInput:
    """Returns the error to raise for an upload that is not taken, and counts it."""
    count(reason)
    return BadInput(sentence)


def count(reason: Reason) -> None:
    """Counts an upload that is not taken."""
    REFUSED[reason] += 1
    tell("upload refused", reason=reason)
