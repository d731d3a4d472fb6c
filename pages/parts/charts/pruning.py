"""The pruning study: one figure over the share that is gone, a line a kind and way."""

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from engine.judge.pruning import LINES, Pruned
from engine.vocabulary import Variant
from pages.parts import wording as w
from pages.parts.charts.axes import Axis
from pages.parts.charts.frame import set_frame
from pages.parts.charts.points import Point
from pages.parts.charts.template import COLOURS, INK, blank, mode
from pages.parts.charts.trade_off import bars

LOOK = dict(  # line: symbol, colour, dash
    zip(
        LINES,
        (
            ("circle", "blue", "solid"),
            ("circle-open", "blue", "dash"),
            ("square", "red", "solid"),
            ("square-open", "red", "dash"),
        ),
        strict=True,
    )
)
APART = 1.0  # points of share between two lines, so that their intervals don't cover each other


def pruning(
    found: Sequence[Pruned], baseline: Variant, y: Axis, limits: Mapping[str, float]
) -> tuple[go.Figure, str, list[str]]:
    """Draws a figure of the finished variants over the share that is gone, and the baseline's as a line.

    Returns the figure, its alternative text, and a sentence for whatever the chart leaves out.
    """
    known = [one for one in found if one.variant.status == "done" and y.value(one.variant) is not None]
    own = y.value(baseline)
    if not known:
        return blank(360), "No pruned variant has this figure.", ["No pruned variant has this figure yet."]
    figure, shares = blank(430), [100 * one.share for one in known]
    ends = (min(shares) - 5, max(shares) + 5)
    if own is not None:
        figure.add_scatter(
            x=ends,
            y=[own, own],
            mode="lines",
            name="your model",
            line={"color": COLOURS[mode()]["orange"], "width": 3, "dash": "dot"},
            hovertemplate=f"your model: {w.with_unit(own, y.unit)}<extra></extra>",
        )
    for number, line in enumerate(LINES):
        if points := [one for one in known if one.line == line]:
            _draw_line(figure, line, points, y, APART * (number - (len(LINES) - 1) / 2))
    places = [Point(one.variant, 100 * one.share, y.value(one.variant) or 0.0, "yes") for one in known]
    places += [Point(baseline, end, own, "baseline") for end in ends if own is not None]
    notes = set_frame(
        figure,
        places,
        Axis("Share that is gone", "%", lambda v: None, is_ratio=False),
        y,
        limits,
        baseline,
        -math.inf,
    )
    return figure, _said(known, own, y), notes


def _draw_line(figure: go.Figure, line: str, points: list[Pruned], y: Axis, aside: float) -> None:
    symbol, colour, dash = LOOK[line]
    colour = COLOURS[mode()][colour]
    values = [y.value(one.variant) or 0.0 for one in points]
    figure.add_scatter(
        x=[100 * one.share + aside for one in points],
        y=values,
        mode="lines+markers",
        name=line,
        line={"color": colour, "width": 1.5, "dash": dash},
        marker={
            "symbol": symbol,
            "size": 10,
            "color": colour,
            "line": {"width": 2, "color": colour} if "open" in symbol else {"width": 1, "color": INK[mode()]},
        },
        error_y=bars([(at, y.ends(one.variant)) for at, one in zip(values, points, strict=True)], colour),
        customdata=[
            f"{line}, {100 * one.share:g}{w.NBSP}% gone: {w.with_unit(at, y.unit)}"
            for at, one in zip(values, points, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _said(known: Sequence[Pruned], own: float | None, y: Axis) -> str:
    points = "; ".join(
        f"{one.line}, {100 * one.share:g} % gone: {w.figure(y.value(one.variant), 4)} {y.unit}"
        for one in known
    )
    beside = "" if own is None else f" Your model: {w.figure(own, 4)} {y.unit}."
    return f"{y.title} over the share that is gone, of {len(known)} pruned variants. {points}.{beside}"
