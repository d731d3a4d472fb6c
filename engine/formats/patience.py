"""How long a file may be tried: by the processor's time, so that a busy machine finds what an idle one finds;
by the clock only where that runs away.
"""

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """When to be done: in seconds of `time.process_time`, and of `time.monotonic`."""

    cpu: float = math.inf
    wall: float = math.inf

    def over(self) -> bool:
        """Tells whether either time is over."""
        return time.process_time() >= self.cpu or time.monotonic() >= self.wall

    def within(self, cpu_s: float, wall_share: float = 1.0) -> "Patience":
        """Returns an end after so many more seconds of the processor and that share of the time left by the
        clock; no later than this one.
        """
        now = time.monotonic()
        wall = now + max(0.0, self.wall - now) * wall_share if math.isfinite(self.wall) else math.inf
        return Patience(min(self.cpu, time.process_time() + cpu_s), wall)
