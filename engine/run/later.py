"""A question about a run that somebody asks later, on a page or by a command: a child answers it behind the
wall.
"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import BadInput
from engine.memory import needed_bytes
from engine.run.requests import OfRun, of_run
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from engine.wall import sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Watch
from engine.wall.template import Template
from engine.wall.turns import turn

Progress = Callable[[float, str], None]


def silent(fraction: float, text: str) -> None:
    """Nobody watches."""


def carried(run: Run, home: Workspace) -> dict[str, Any]:
    """Returns what every request about this run carries."""
    return of_run(run.experiment, home.folder(run.id), home.home)


def finished(run: Run, names: Sequence[str], also: Sequence[str] = ()) -> list[Variant]:
    """Returns the baseline and these variants of a run, then those of `also` that have a file; raises
    BadInput for a name that has none.
    """
    by_id = {v.id: v for v in run.variants if v.status == "done" and v.artifacts}
    for name in names:
        if name not in by_id:
            raise BadInput(f"The run has no finished variant {name!r}: choose one of {', '.join(by_id)}.")
    return [by_id[name] for name in dict.fromkeys(("baseline", *names, *also)) if name in by_id]


def ask(
    run: Run,
    home: Workspace,
    request: OfRun,
    limit_s: float,
    on_progress: Progress = silent,
    template: Template | None = None,
) -> dict[str, Any]:
    """Returns what a child answers. Raises BadInput for what it found wrong with its input, Failed for every
    other end.

    template: a process that waits to be forked, if there is one.
    """
    limits = Limits(
        memory_bytes=needed_bytes(run.experiment.model),
        seconds=limit_s,
        threads=request.threads,
        programs=False,
    )
    log = home.folder(run.id) / "worker.log"
    with turn():
        return sandbox.run("engine.run.tasks", request.sent(), limits, watching(on_progress), log, template)


def watching(on_progress: Progress) -> Watch:
    """Returns a watch that hands on a child's progress."""
    return Watch(on_message=lambda m: on_progress(m.get("fraction", 0.0), m.get("text", "")))
