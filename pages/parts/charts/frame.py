"""The trade-off's ranges, ticks and limit lines."""

import math

import plotly.graph_objects as go

from pages.parts import wording as w
from pages.parts.charts.points import Axis, Point
from pages.parts.charts.template import INK, mode


def set_frame(
    figure: go.Figure,
    points: list[Point],
    floor: float,
    axis: Axis,
    device: str,
    limits: dict[str, float],
    baseline: Point | None,
    where: str,
) -> list[str]:
    """Sets the ranges by hand, since limit lines stretch Plotly's own; returns a sentence for each limit left
    out.
    """
    lows = [100 * p.variant.accuracy_low if p.variant.accuracy_low is not None else p.y for p in points]
    highs = [100 * p.variant.accuracy_high if p.variant.accuracy_high is not None else p.y for p in points]
    bottom, top = max(min(lows), floor), min(max(highs), 100.0)
    ends = [end for p in points for end in axis.ends(p.variant, device) or (p.x, p.x)]
    left, right = min(ends), max(ends)
    notes, most, lowest = [], limits.get(axis.limit or ""), None
    if most and not left / 4 <= most <= right * 4:
        notes.append(f"Your limit of {most:g}{w.NBSP}{axis.unit} lies outside the chart.")
        most = None
    if most:
        left, right = min(left, most), max(right, most)
    if baseline and "max_accuracy_drop_pp" in limits:
        lowest = baseline.y - limits["max_accuracy_drop_pp"]
        if lowest < floor:
            notes.append("Your accuracy limit lies below the chart.")
            lowest = None
    bottom = bottom if lowest is None else min(bottom, lowest)
    pad = max((top - bottom) * 0.12, 0.05)
    figure.update_yaxes(title="Test accuracy (%)", range=[bottom - pad, top + pad], nticks=7)
    _set_x_range(figure, left, right, where, axis.unit)
    _draw_limits(figure, most, axis.unit, lowest, limits.get("max_accuracy_drop_pp"))
    return notes


def _set_x_range(figure: go.Figure, left: float, right: float, where: str, unit: str) -> None:
    """Sets the x axis, logarithmic where its ends are far apart, with room for the marks."""
    is_log = right / left > 5
    spread = math.log10(right / left) if is_log else right - left
    pad = (spread or (0.3 if is_log else left * 0.3)) * 0.1
    low, high = (math.log10(left), math.log10(right)) if is_log else (left, right)
    figure.update_xaxes(
        title=f"{where} ({unit}{', log' if is_log else ''})",
        nticks=8,
        range=[low - pad, high + 1.4 * pad],
        type="log" if is_log else "linear",
    )
    if is_log:
        ticks = _log_ticks(left, right)
        figure.update_xaxes(tickvals=ticks, ticktext=[w.figure(tick, 1) for tick in ticks])


def _draw_limits(
    figure: go.Figure, most: float | None, unit: str, lowest: float | None, drop: float | None
) -> None:
    """Draws the limits as dashed lines in the text's colour, each with its figure."""
    line = {"color": INK[mode()], "width": 1, "dash": "dash"}
    if most:
        place = math.log10(most) if figure.layout.xaxis.type == "log" else most
        figure.add_shape(type="line", x0=most, x1=most, y0=0, y1=1, yref="paper", line=line)
        figure.add_annotation(
            x=place,
            y=0,
            yref="paper",
            text=f"≤ {most:g} {unit}",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            textangle=-90,
            font={"size": 12},
        )
    if lowest is not None:
        figure.add_shape(type="line", x0=0, x1=1, xref="paper", y0=lowest, y1=lowest, line=line)
        figure.add_annotation(
            x=1,
            xref="paper",
            y=lowest,
            text=f"drop ≤ {drop:g} pp",
            showarrow=False,
            xanchor="right",
            yanchor="top",
            font={"size": 12},
        )


def _log_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2, 5 … over the range; only powers of ten where that would be too many for a phone."""

    def ticks(steps: tuple[int, ...]) -> list[float]:
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        return [s * 10.0**p for p in powers for s in steps if low * 0.7 <= s * 10.0**p <= high * 1.4]

    return next((found for steps in ((1, 2, 5), (1, 3)) if len(found := ticks(steps)) <= 7), ticks((1,)))
