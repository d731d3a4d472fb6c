"""The report's charts as SVG, drawn by us: sharp in print, no script. They look right without the page's
style, which a maker of PDFs does not apply to them; it recolours them where the screen is dark.

Text in them is escaped here; the templates take them as they are.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from engine.judge import figures as f
from engine.judge import words
from engine.judge.layers import LayerRow
from engine.techniques import title_of
from engine.vocabulary import Experiment, Variant

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 48
MOST_BARS = 8
BAR = 30
LAYER_BAR = 22
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
    "end": 'text-anchor="end"',
    "middle": 'text-anchor="middle"',
}
LETTER = 6.6  # pixels of a letter at 12 px, about


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


def trade_off(done: list[Variant], chosen: str | None, asked: Experiment) -> Markup:
    """Draws accuracy with its interval over the size of the file; nothing without labelled images."""
    points = [v for v in done if v.accuracy is not None and v.size_bytes and v.usable]
    if not points:
        return Markup("")
    sizes = [v.size_bytes / 1e6 for v in points if v.size_bytes]
    highs = [100 * (v.accuracy_high or v.accuracy or 0) for v in points]
    lows = [100 * (v.accuracy_low or v.accuracy or 0) for v in points]
    x = Scale(min(sizes) / 1.3, max(sizes) * 1.3, LEFT, WIDTH - RIGHT, log=True)
    pad = max((max(highs) - min(lows)) * 0.08, 0.2)
    y = Scale(max(min(lows) - pad, 0), min(max(highs) + pad, 100), HEIGHT - BOTTOM, TOP)
    parts = [*_grid(x, y, "Size of the file (MB, log)", "Test accuracy (%)"), *_limits(x, y, points, asked)]
    for v in sorted(points, key=lambda v: v.id == chosen):
        parts += _point(v, x, y, chosen)
    parts += _labels([v for v in points if v.id in (chosen, "baseline")], x, y)
    said = (
        f"Test accuracy over size of {len(points)} variants. Your model: {_said(points, 'baseline')}."
        f" Recommended: {_said(points, chosen)}."
    )
    return _svg(parts, HEIGHT, said)


def latencies(variants: list[Variant], chosen: str | None, device: str) -> Markup:
    """Draws predicted latencies with their intervals, a bar a variant; nothing where none is predicted."""
    known = [(v, e) for v in variants if (e := v.estimates.get(device)) and e.latency_ms and e.high_ms]
    if not known:
        return Markup("")
    height = TOP + BAR * len(known) + BOTTOM
    x = Scale(0, max(e.high_ms or 0 for _, e in known) * 1.02, 290, WIDTH - RIGHT)
    parts = _ticks_below(x, height, f"Predicted latency on {words.device_name(device)} (ms)")
    for number, (v, e) in enumerate(known):
        top, kind = TOP + BAR * number, "chosen" if v.id == chosen else "other"
        middle, length, thick = top + BAR / 2, x(e.latency_ms or 0) - x.start, BAR - 14
        name = escape(_short(title_of(v.id)))
        parts += [
            f'<text x="{x.start - 8}" y="{middle + 4:.1f}" class="end">{name}</text>',
            f'<rect class="bar {kind}" x="{x.start}" y="{top + 7}" width="{length:.1f}" height="{thick}"/>',
            _whisker(x(e.low_ms or 0), middle, x(e.high_ms or 0), middle),
        ]
    said = "Predicted latency: " + "; ".join(f"{title_of(v.id)} {f.estimate(e)}" for v, e in known) + "."
    return _svg(parts, height, said)


def layers(rows: Sequence[LayerRow], device: str) -> Markup:
    """Draws what each layer costs as a bar, the same layer of the baseline as a diamond; nothing where
    nothing is predicted.
    """
    known = [row for row in rows if row.ms or row.ms_before]
    if not any(row.ms for row in known):
        return Markup("")
    height = TOP + LAYER_BAR * len(known) + BOTTOM
    most = max(max(row.ms or 0, row.ms_before or 0) for row in known)
    x = Scale(0, most * 1.02, 290, WIDTH - RIGHT)
    parts = _ticks_below(x, height, f"Predicted latency on {device} (ms)")
    for number, row in enumerate(known):
        top = TOP + LAYER_BAR * number
        middle, length = top + LAYER_BAR / 2, x(row.ms or 0) - x.start
        name = escape(_short(f"{row.name}, {row.bound}" if row.op else "an inference by itself"))
        parts.append(f'<text x="{x.start - 8}" y="{middle + 4:.1f}" class="end">{name}</text>')
        parts.append(
            f'<rect class="bar chosen" x="{x.start}" y="{top + 4}" width="{length:.1f}"'
            f' height="{LAYER_BAR - 8}"/>'
        )
        if row.ms_before is not None:
            parts.append(_diamond(x(row.ms_before), middle, 6))
    said = "Predicted latency by layer: " + "; ".join(f"{row.name} {f.ms(row.ms)}" for row in known) + "."
    return _svg(parts, height, said)


def _svg(parts: list[str], height: float, said: str) -> Markup:
    drawn = re.sub(r'class="([a-z ]+)"', _looking, "".join(parts))
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" role="img"'
        f' aria-label="{escape(said)}" font-family="sans-serif" font-size="12" fill="#1c2526">'
        f"<title>{escape(said)}</title>{drawn}</svg>"
    )


def _looking(found: re.Match[str]) -> str:
    return " ".join([found[0], *(LOOK[word] for word in found[1].split())])


def _said(points: list[Variant], name: str | None) -> str:
    found = next((v for v in points if v.id == name), None)
    return f"{f.percent(found.accuracy)} at {f.size(found.size_bytes)}" if found else "none"


def _grid(x: Scale, y: Scale, below: str, beside: str) -> list[str]:
    parts = _ticks_below(x, HEIGHT, below)
    for tick in _steps(y.low, y.high):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" class="end">{tick:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="middle" transform="translate(16 {middle:g}) rotate(-90)">{escape(beside)}</text>'
    )
    return parts


def _ticks_below(x: Scale, height: float, title: str) -> list[str]:
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


def _limits(x: Scale, y: Scale, points: list[Variant], asked: Experiment) -> list[str]:
    """Draws the limits on size and accuracy that lie in the picture as dashed lines, each with its figure."""
    parts, limits = [], asked.constraints
    if limits.max_size_mb and x.low < limits.max_size_mb < x.high:
        at = x(limits.max_size_mb)
        parts.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{at + 4:.1f}" y="{HEIGHT - BOTTOM - 6}">at most {limits.max_size_mb:g} MB</text>'
        )
    baseline = next((v for v in points if v.id == "baseline"), None)
    if baseline and baseline.accuracy and limits.max_accuracy_drop_pp is not None:
        least = 100 * baseline.accuracy - limits.max_accuracy_drop_pp
        if y.low < least < y.high:
            at = y(least)
            parts.append(
                f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            parts.append(
                f'<text class="end" x="{WIDTH - RIGHT - 4}" y="{at + 14:.1f}">drop of at most'
                f" {limits.max_accuracy_drop_pp:g} pp</text>"
            )
    return parts


def _point(v: Variant, x: Scale, y: Scale, chosen: str | None) -> list[str]:
    """Draws one variant: kinds differ in shape as well as in colour."""
    across, up = x((v.size_bytes or 1) / 1e6), y(100 * (v.accuracy or 0))
    parts = []
    if v.accuracy_low is not None and v.accuracy_high is not None:
        parts.append(_whisker(across, y(100 * v.accuracy_low), across, y(100 * v.accuracy_high)))
    name = f"<title>{escape(title_of(v.id))}: {_said([v], v.id)}</title>"
    if v.id == chosen:
        parts.append(f'<circle class="mark chosen" cx="{across:.1f}" cy="{up:.1f}" r="7">{name}</circle>')
    elif v.id == "baseline":
        parts.append(_diamond(across, up, 8, name))
    elif v.admissible == "no":
        parts.append(f'<path class="cross" d="M{across - 4:.1f} {up - 4:.1f}l8 8m0 -8l-8 8">{name}</path>')
    else:
        parts.append(f'<circle class="mark other" cx="{across:.1f}" cy="{up:.1f}" r="4">{name}</circle>')
    return parts


def _labels(named: list[Variant], x: Scale, y: Scale) -> list[str]:
    """Names points beside them, on the side where there is room, one above the other where they are close."""
    parts: list[str] = []
    taken: list[float] = []
    for v in named:
        text, across = _short(title_of(v.id)), x((v.size_bytes or 1) / 1e6)
        up = y(100 * (v.accuracy or 0)) - 12
        while any(abs(up - other) < 16 for other in taken):
            up += 16
        taken.append(up)
        fits = across + 12 + LETTER * len(text) < WIDTH - RIGHT
        side, place = ("", across + 12) if fits else (' class="end"', across - 12)
        parts.append(f'<text{side} x="{place:.1f}" y="{up:.1f}">{escape(text)}</text>')
    return parts


def _diamond(x: float, y: float, reach: float, name: str = "") -> str:
    sides = ((0, -reach), (reach, 0), (0, reach), (-reach, 0))
    corners = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in sides)
    return f'<polygon class="mark baseline" points="{corners}">{name}</polygon>'


def _whisker(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="whisker" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _short(text: str, most: int = 42) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
