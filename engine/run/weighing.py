"""Peak memory of a run's artifacts: each is loaded alone in a process of its own, while others are made."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType

from pydantic import ValidationError

from engine.errors import EdgewiseError
from engine.run.requests import PeakMemory, WeighArtifact
from engine.run.supervisor import Supervisor

AT_ONCE = 2
LIMIT_S = 120


class Weighing:
    """What is being weighed, in the background. Nothing may be timed or trained meanwhile: `wait` first."""

    def __init__(self, run: Supervisor):
        self._run = run
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._found: dict[str, Future[int | None]] = {}

    def __enter__(self) -> "Weighing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, variant_id: str, path: str, int4: bool) -> None:
        """Begins to weigh a variant's file, once."""
        if variant_id not in self._found:
            self._found[variant_id] = self._pool.submit(self._weigh, path, int4)

    def wait(self) -> None:
        """Returns when nothing is being weighed."""
        wait(self._found.values())

    def peak_bytes(self, variant_id: str) -> int | None:
        """Returns the peak memory of a variant's process; None where it has none, as the log says."""
        return self._found[variant_id].result()

    def _weigh(self, path: str, int4: bool) -> int | None:
        asked = WeighArtifact(**self._run.common(), path=path, int4=int4)
        try:
            return PeakMemory.model_validate(self._run.ask(asked, "timing", LIMIT_S)).peak_memory_bytes
        except (EdgewiseError, ValidationError) as error:
            self._run.log("timing", f"peak memory of {path} failed: {error}")
            return None
