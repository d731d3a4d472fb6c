"""Whether the pictures still look as those did that the line was set up with: light, contrast, sharpness."""

import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

NAMES = ("brightness", "contrast", "sharpness")  # of `worker.light`
REFERENCE = 200  # pictures that are the ordinary ones
WINDOW = 50
LIMIT = 0.75  # spreads of one picture, by which the window's mean may be off …
CALM = 0.7  # … and the share of it below which an alarm ends


@dataclass
class Moments:
    """Count, mean and sum of squared distances of one figure (Welford 1962)."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Takes one value in."""
        self.n += 1
        step = value - self.mean
        self.mean += step / self.n
        self.squares += step * (value - self.mean)

    @property
    def spread(self) -> float:
        """Returns the standard deviation, at least a level of 255's half: still pictures have none."""
        return max(math.sqrt(self.squares / max(1, self.n - 1)), 0.5)


class Drift:
    """Learns the first pictures, then compares a moving window with them. kept: what `state` returned."""

    def __init__(self, kept: dict[str, Any] | None = None, reference: int = REFERENCE, limit: float = LIMIT):
        kept = kept or {}
        self.moments = {name: Moments(**kept.get(name, {})) for name in NAMES}
        self.reference, self.limit = reference, limit
        self.windows = {name: deque[float](maxlen=WINDOW) for name in NAMES}
        self.alarm = ""

    @property
    def learnt(self) -> bool:
        """Tells whether the ordinary pictures are known."""
        return self.moments[NAMES[0]].n >= self.reference

    def add(self, light: dict[str, Any]) -> bool:
        """Takes one picture's figures in; returns whether the alarm rose, changed or ended by it."""
        if not self.learnt:
            for name in NAMES:
                self.moments[name].add(float(light[name]))
            return False
        for name in NAMES:
            self.windows[name].append(float(light[name]))
        if len(self.windows[NAMES[0]]) < WINDOW:
            return False
        off = self.off()
        worst = max(off, key=lambda name: abs(off[name]))
        is_off = abs(off[worst]) > self.limit * (CALM if self.alarm else 1.0)
        before, self.alarm = self.alarm, (self.alarm or worst) if is_off else ""
        return before != self.alarm

    def off(self) -> dict[str, float]:
        """Returns how far the window's mean is from the ordinary, in spreads of one ordinary picture."""
        return {
            name: (sum(window) / len(window) - self.moments[name].mean) / self.moments[name].spread
            if (window := self.windows[name])
            else 0.0
            for name in NAMES
        }

    def state(self) -> dict[str, Any]:
        """Returns what was learnt, as JSON can keep it."""
        return {name: asdict(moments) for name, moments in self.moments.items()}
