"""One picture through a run's files, behind the wall, soon enough to play with."""

import base64
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engine.errors import BadInput
from engine.run import later
from engine.run.made import check_files, holds_int4
from engine.run.requests import TIMED_THREADS, TryPicture
from engine.run.templates import MEASURES, RUNTIMES, TASKS
from engine.runtimes import format_of, saturates_here
from engine.store.workspace import Workspace
from engine.vocabulary import Fraction, Run, Variant
from engine.wall.sandbox import Failed
from engine.wall.template import Template

MOST_BYTES = 20_000_000  # of a picture's file
LIMIT_S = 60
IDLE_S = 300.0  # after the last picture the waiting process goes


class Answer(BaseModel):
    """What one file says: the likeliest classes (index and probability), and the time of one run here."""

    model_config = ConfigDict(frozen=True)

    likeliest: Annotated[tuple[tuple[int, Fraction], ...], Field(min_length=1)]
    ms: float = Field(ge=0)


ANSWERS = TypeAdapter(dict[str, Answer])


@dataclass(frozen=True)
class Tried:
    """A picture as the model sees it (uint8 [height, width, 1 or 3]), and what each file says of it."""

    image: np.ndarray
    answers: dict[str, Answer]


def try_picture(run: Run, variants: Sequence[Variant], content: bytes, home: Workspace) -> Tried:
    """Has variants classify a picture file. Raises BadInput with one sentence where it is none, or too large,
    Failed where the child broke down.
    """
    if not content:
        raise BadInput("This picture is empty: choose another one.")
    if len(content) > MOST_BYTES:
        raise BadInput(f"This picture has more than {MOST_BYTES // 10**6} MB: choose a smaller one.")
    folder = home.folder(run.id)
    for variant in variants:
        check_files(variant, folder)
    request = TryPicture(
        **later.carried(run, home),
        threads=TIMED_THREADS,
        artifacts={v.id: v.artifacts[0] for v in variants},
        exact=tuple(v.id for v in variants if saturates_here(v)),
        int4=tuple(v.id for v in variants if holds_int4(v, folder)),
        picture=base64.b64encode(content).decode(),
    )
    waiting = READY.of(format_of(run.experiment.model, run.experiment.runtime))
    return _checked(later.ask(run, home, request, LIMIT_S, template=waiting), request)


def _checked(answer: dict[str, Any], request: TryPicture) -> Tried:
    """Returns a child's answer as what it must be; raises Failed where it is something else."""
    how = request.model.preprocessing
    shape = (how.height, how.width, 1 if how.color == "grey" else 3)
    try:
        pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(shape)
        answers = ANSWERS.validate_python(answer["answers"])
        classes = len(request.model.classes)
        is_whole = set(answers) == set(request.artifacts) and all(
            0 <= index < classes for found in answers.values() for index, _ in found.likeliest
        )
    except (ValidationError, ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise Failed("its process answered with something else than it was asked for")
    return Tried(pixels, answers)


class _Ready:
    """One process that has imported a runtime and waits to be forked. It dies with the thread that made it,
    and those of a page are short: a thread of its own holds it, until nobody has asked for some minutes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._format, self._used = "", 0.0
        self._template: Template | None = None

    def of(self, format: str) -> Template | None:
        """Returns the waiting process for files of a format, begun now where there is none."""
        with self._lock:
            self._used = time.monotonic()
            if self._template is None or self._format != format:
                begun = threading.Event()
                threading.Thread(target=self._hold, args=(format, begun), daemon=True).start()
                begun.wait()
            return self._template

    def _hold(self, format: str, begun: threading.Event) -> None:
        with Template((*TASKS, *MEASURES, *RUNTIMES.get(format, ())), TIMED_THREADS) as made:
            self._template, self._format = made, format
            begun.set()
            while self._template is made and time.monotonic() - self._used < IDLE_S:
                time.sleep(1.0)
            with self._lock:
                if self._template is made:
                    self._template = None


READY = _Ready()
