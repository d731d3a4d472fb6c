"""Techniques made on other machines: a run's go out side by side, and come back to be measured here.

Who makes them is handed in (`engine.cluster.host`); this is the run's side of it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from types import TracebackType
from typing import Protocol

from engine.errors import EdgewiseError
from engine.run.requests import MakeVariants
from engine.run.supervisor import Supervisor
from engine.techniques import TECHNIQUES
from engine.wall.limits import Limits
from engine.wall.sandbox import Watch

Begun = Callable[[str], Watch]


class Away(EdgewiseError):
    """The other machines can't be reached, or not any more: the message says so and what happens now."""


class Elsewhere(Protocol):
    """Machines that make techniques."""

    def make(self, request: MakeVariants, limits: Limits, begun: Begun) -> None:
        """Has a technique made; its files lie in the run's folder before its variants are told.

        begun: called with the name of the machine each time that one begins; returns who listens to it.
        Raises BadInput and Failed as the wall does, Away where nobody is there who could make it.
        """

    def close(self) -> None:
        """Lets go of all that is still being made."""


class Sent:
    """The techniques of a run that were sent out; one that takes another's networks waits for it."""

    def __init__(self, run: Supervisor, elsewhere: Elsewhere):
        self._run, self._elsewhere = run, elsewhere
        self._pool = ThreadPoolExecutor(len(TECHNIQUES))
        self._made: dict[str, Future[None]] = {}

    def __enter__(self) -> "Sent":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._elsewhere.close()
        self._pool.shutdown(cancel_futures=True)

    def send(self, request: MakeVariants, limit_s: float) -> None:
        """Sends a technique out, and returns at once."""
        line = request.technique
        before = [self._made[name] for name in TECHNIQUES[line].after if name in self._made]
        self._made[line] = self._pool.submit(self._make, request, limit_s, before)

    def _make(self, request: MakeVariants, limit_s: float, before: list[Future[None]]) -> None:
        wait(before)
        self._run.ask_elsewhere(request, request.technique, limit_s, self._elsewhere.make)

    def come_back(self) -> Iterator[tuple[str, EdgewiseError | None]]:
        """Yields each technique as soon as it is no longer made elsewhere, with why not all of it was."""
        lines = {future: line for line, future in self._made.items()}
        for future in as_completed(lines):
            error = future.exception()
            if error is not None and not isinstance(error, EdgewiseError):
                raise error
            yield lines[future], error
