"""What the report's charts are drawn with, as SVG: sharp in print, no script. They look right without the
page's style, which a maker of PDFs does not apply to them; it recolours them where the screen is dark.

Text in them is escaped here; the templates take them as they are.
"""

import math
import re
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 48
LOOK = {
    "grid": 'stroke="#dde2e1"',
    "whisker": 'stroke="#566263" stroke-width="1.5"',
    "limit": 'stroke="#1c2526" stroke-dasharray="5 4"',
    "cross": 'stroke="#c34d00" stroke-width="2" fill="none"',
    "mark": 'stroke="#fbfbfa"',
    "bar": 'fill-opacity="0.75"',
    "chosen": 'fill="#0072b2"',
    "baseline": 'fill="#e69f00"',
    "other": 'fill="#767676"',
    "weights": 'stroke="#0072b2" stroke-width="2" fill="none"',
    "channels": 'stroke="#c34d00" stroke-width="2" fill="none"',
    "model": 'stroke="#e69f00" stroke-width="3" stroke-dasharray="2 4"',
    "ring": 'stroke="#1c2526" stroke-width="2" fill="#ffffff"',
    "dashed": 'stroke-dasharray="6 4"',
    "end": 'text-anchor="end"',
    "middle": 'text-anchor="middle"',
}


@dataclass(frozen=True)
class Scale:
    """Brings values of `low`..`high` to pixels of `start`..`end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the place of a value in pixels."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)


def svg(parts: list[str], height: float, said: str) -> Markup:
    """Returns a chart of these parts; said: what it shows, for those who can't see it."""
    drawn = re.sub(r'class="([a-z ]+)"', _looking, "".join(parts))
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" role="img"'
        f' aria-label="{escape(said)}" font-family="sans-serif" font-size="12" fill="#1c2526">'
        f"<title>{escape(said)}</title>{drawn}</svg>"
    )


def _looking(found: re.Match[str]) -> str:
    return " ".join([found[0], *(LOOK[word] for word in found[1].split())])


def grid(x: Scale, y: Scale, below: str, beside: str) -> list[str]:
    """Returns the grid of two axes with their ticks and titles."""
    parts = ticks_below(x, HEIGHT, below)
    for tick in _steps(y.low, y.high):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" class="end">{tick:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="middle" transform="translate(16 {middle:g}) rotate(-90)">{escape(beside)}</text>'
    )
    return parts


def ticks_below(x: Scale, height: float, title: str) -> list[str]:
    """Returns the ticks of an axis at the bottom, with its title."""
    ticks = _decades(x.low, x.high) if x.log else _steps(x.low, x.high)
    parts = []
    for tick in ticks:
        at = x(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM:g}"/>')
        parts.append(f'<text class="middle" x="{at:.1f}" y="{height - BOTTOM + 16:g}">{tick:g}</text>')
    middle = (x.start + x.end) / 2
    parts.append(f'<text class="middle" x="{middle:g}" y="{height - 8:g}">{escape(title)}</text>')
    return parts


def _steps(low: float, high: float, most: int = 7) -> list[float]:
    """Returns round values between two ends."""
    rough = (high - low) / most or 1.0
    power = 10 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [s * 10.0**p for p in powers for s in (1, 2, 5) if low <= s * 10.0**p <= high]
    return [float(f"{tick:.6g}") for tick in found[:: 1 + len(found) // 9]]


def diamond(x: float, y: float, reach: float, name: str = "") -> str:
    """Returns the mark of the user's own model."""
    sides = ((0, -reach), (reach, 0), (0, reach), (-reach, 0))
    corners = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in sides)
    return f'<polygon class="mark baseline" points="{corners}">{name}</polygon>'


def whisker(x1: float, y1: float, x2: float, y2: float) -> str:
    """Returns an interval as a line."""
    return f'<line class="whisker" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def short(text: str, most: int = 42) -> str:
    """Returns a text that is cut where it is too long for a label."""
    return text if len(text) <= most else text[: most - 1] + "…"
