"""The trade-off's ranges, ticks and limit lines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from engine.vocabulary import Variant
from pages.parts import wording as w
from pages.parts.charts.axes import Axis
from pages.parts.charts.points import Point
from pages.parts.charts.template import INK, mode

FAR = 4  # times beyond what is drawn: a limit there would flatten it


@dataclass(frozen=True)
class Span:
    """What one axis of the chart reaches over, and the limits that are lines in it."""

    low: float
    high: float
    lines: list[tuple[float, str]]
    is_log: bool


def set_frame(
    figure: go.Figure,
    points: list[Point],
    x: Axis,
    y: Axis,
    limits: Mapping[str, float],
    baseline: Variant | None,
    floor: float,
) -> list[str]:
    """Sets the ranges by hand, since limit lines stretch Plotly's own; returns a sentence for each limit left
    out. floor: what is drawn of y at least.
    """
    notes = []
    for side, axis in (("x", x), ("y", y)):
        places = [p.x if side == "x" else p.y for p in points]
        ends = [end for p in points for end in axis.ends(p.variant) or ()]
        lines = axis.lines(limits, baseline)
        span = _span([*places, *ends], lines, axis, floor if side == "y" else -math.inf)
        _set_range(figure, "x" if side == "x" else "y", span, axis)
        for place, words in span.lines:
            (_line_up if side == "x" else _line_across)(figure, place, words, span.is_log)
        notes += [
            f"Your limit “{words}” lies outside the chart."
            for line, words in lines
            if (line, words) not in span.lines
        ]
    return notes


def _span(values: list[float], lines: list[tuple[float, str]], axis: Axis, floor: float) -> Span:
    """Returns the ends of what is drawn, stretched to those limits that lie near."""
    low, high = max(min(values), floor), max(values)
    if axis.is_ratio:
        near = [line for line in lines if low / FAR <= line[0] <= high * FAR]
    else:
        reach = FAR * max(high - low, 0.5)
        near = [line for line in lines if max(low - reach, floor) <= line[0] <= high + reach]
    low, high = min([low, *(at for at, _ in near)]), max([high, *(at for at, _ in near)])
    return Span(low, high, near, axis.is_ratio and high / low > 5)


def _set_range(figure: go.Figure, side: Literal["x", "y"], span: Span, axis: Axis) -> None:
    """Sets an axis, logarithmic where its ends are far apart, with room for the marks."""
    low, high = (math.log10(v) if span.is_log else v for v in (span.low, span.high))
    least = 0.3 if span.is_log else abs(span.low) * 0.3 if axis.is_ratio else 0.4
    pad = ((high - low) or least) * (0.1 if side == "x" else 0.12)
    found = {
        "title": {"text": f"{axis.title} ({axis.unit}{', log' if span.is_log else ''})"},
        "nticks": 8 if side == "x" else 7,
        "range": [low - pad, high + 1.4 * pad if side == "x" else high + pad],
        "type": "log" if span.is_log else "linear",
    }
    if span.is_log:
        ticks = _log_ticks(span.low, span.high)
        found |= {"tickvals": ticks, "ticktext": [w.figure(tick, 1) for tick in ticks]}
    (figure.update_xaxes if side == "x" else figure.update_yaxes)(found)


def _line_up(figure: go.Figure, at: float, words: str, is_log: bool) -> None:
    """Draws a limit on x as a dashed line in the text's colour, with its figure."""
    figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line=_dashed())
    figure.add_annotation(
        x=math.log10(at) if is_log else at,
        y=0,
        yref="paper",
        text=words,
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
        textangle=-90,
        font={"size": 12},
    )


def _line_across(figure: go.Figure, at: float, words: str, is_log: bool) -> None:
    """Draws a limit on y as `_line_up` does one on x."""
    figure.add_shape(type="line", x0=0, x1=1, xref="paper", y0=at, y1=at, line=_dashed())
    figure.add_annotation(
        x=1,
        xref="paper",
        y=math.log10(at) if is_log else at,
        text=words,
        showarrow=False,
        xanchor="right",
        yanchor="top",
        font={"size": 12},
    )


def _dashed() -> dict[str, object]:
    return {"color": INK[mode()], "width": 1, "dash": "dash"}


def _log_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2, 5 … over the range; only powers of ten where that would be too many for a phone."""

    def ticks(steps: tuple[int, ...]) -> list[float]:
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        return [s * 10.0**p for p in powers for s in steps if low * 0.7 <= s * 10.0**p <= high * 1.4]

    return next((found for steps in ((1, 2, 5), (1, 3)) if len(found := ticks(steps)) <= 7), ticks((1,)))
