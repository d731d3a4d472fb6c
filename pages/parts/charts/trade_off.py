"""The trade-off: accuracy against one cost of every measured variant, on the compare page."""

import math

import plotly.graph_objects as go

from engine.vocabulary import Variant
from pages.parts import wording as w
from pages.parts.charts.frame import set_frame
from pages.parts.charts.labels import name_points
from pages.parts.charts.points import ROLES, Axis, Point, lowest_drawn, points_of
from pages.parts.charts.template import COLOURS, INK, blank, mode, text


def trade_off(
    variants: list[Variant],
    axis: Axis,
    device: str,
    limits: dict[str, float],
    winner: str | None,
    names: list[str],
    where: str,
) -> tuple[go.Figure, str, list[str]]:
    """Draws accuracy against one cost of every measured variant.

    Args:
        variants: With `admissible` as the limits say it; those without figures are left out.
        limits: The limits that are set, by name.
        names: Ids that get a label; the rest is left to hover.
        where: What the x axis was measured on, for its title.

    Returns:
        The figure, its alternative text, and a sentence for whatever the chart leaves out.
    """
    points = points_of(variants, axis, device, winner)
    if not points:
        return blank(360), "No variant has both figures.", ["No finished variant has both figures yet."]
    baseline = next((p for p in points if p.variant.id == "baseline"), None)
    floor = lowest_drawn(points, baseline, limits)
    shown = [p for p in points if p.y >= floor]
    figure = blank(430)
    _draw_front(figure, shown)
    for role in ("no", "unknown", "yes", "baseline", "winner"):
        _draw_points(figure, [p for p in shown if p.role == role], role, axis, device)
    notes = set_frame(figure, shown, floor, axis, device, limits, baseline, where)
    name_points(figure, [p for p in shown if p.variant.id in names], shown)
    if len(shown) < len(points):
        left = len(points) - len(shown)
        notes.append(
            f"{left} variant{'s' if left > 1 else ''} below {floor:.1f}{w.NBSP}% "
            f"{'are' if left > 1 else 'is'} not drawn; the table lists every variant."
        )
    return figure, _trade_off_text(points, axis), notes


def _draw_front(figure: go.Figure, points: list[Point]) -> None:
    """Joins the admissible points that no other beats in both; a step, since between two of them only they
    exist.
    """
    front, best = [], -math.inf
    for point in sorted((p for p in points if _admissible(p)), key=lambda p: (p.x, -p.y)):
        if point.y > best:
            front.append(point)
            best = point.y
    if len(front) > 1:
        figure.add_scatter(
            x=[p.x for p in front],
            y=[p.y for p in front],
            mode="lines",
            name="best trade-offs",
            line={"color": COLOURS[mode()]["blue"], "width": 1.5, "shape": "hv"},
            hoverinfo="skip",
        )


def _admissible(point: Point) -> bool:
    return point.variant.admissible == "yes" or point.role == "winner"


def _draw_points(figure: go.Figure, points: list[Point], role: str, axis: Axis, device: str) -> None:
    if not points:
        return
    legend, symbol, colour, size = ROLES[role]
    colour = COLOURS[mode()][colour]
    # twenty overlapping intervals in full colour would hide the marks
    faded = colour if role in ("winner", "baseline") else _see_through(colour)
    edge = {
        "width": 2 if symbol.endswith("open") else 1,
        "color": colour if symbol.endswith("open") else INK[mode()],
    }
    bars = [(p.variant.accuracy_low, p.variant.accuracy_high) for p in points]
    error = {
        "type": "data",
        "symmetric": False,
        "thickness": 1,
        "width": 3,
        "color": faded,
        "array": [
            100 * high - p.y if high is not None else 0 for p, (_, high) in zip(points, bars, strict=True)
        ],
        "arrayminus": [
            p.y - 100 * low if low is not None else 0 for p, (low, _) in zip(points, bars, strict=True)
        ],
    }
    ends = [axis.ends(p.variant, device) or (p.x, p.x) for p in points]
    sideways = {
        "type": "data",
        "symmetric": False,
        "thickness": 1,
        "width": 3,
        "color": colour,
        "array": [high - p.x for p, (_, high) in zip(points, ends, strict=True)],
        "arrayminus": [p.x - low for p, (low, _) in zip(points, ends, strict=True)],
    }
    figure.add_scatter(
        x=[p.x for p in points],
        y=[p.y for p in points],
        mode="markers",
        name=legend,
        error_y=error,
        error_x=sideways if axis.title == "Estimated ms" else None,
        marker={"symbol": symbol, "color": colour, "size": size, "line": edge},
        customdata=[[_hover(p.variant, device)] for p in points],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _see_through(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.55)"


def _hover(variant: Variant, device: str) -> str:
    ends = w.interval(variant.accuracy_low, variant.accuracy_high, 100, 2)
    lines = [
        f"<b>{text(variant.id)}</b>",
        f"accuracy {w.percent(variant.accuracy, 0, 0)}" + (f" ({ends})" if ends else ""),
        f"size {w.size(variant.size_bytes)}",
        f"measured {w.ms(w.measured(variant))}",
        f"estimated {w.estimate(variant.estimates.get(device))}",
        text(w.misses(variant)),
    ]
    return "<br>".join(line for line in lines if line)


def _trade_off_text(points: list[Point], axis: Axis) -> str:
    named = "; ".join(
        f"{p.variant.id}, {ROLES[p.role][0]}: {w.figure(p.x)} {axis.unit}, {p.y:.2f} % accuracy"
        for p in sorted(points, key=lambda p: p.x)
    )
    return f"Scatter plot of test accuracy against {axis.title.lower()} for {len(points)} variants. {named}."


# ---- details of one variant --------------------------------------------------------------------------------
