"""The trade-off: one figure against another of every measured variant, on the compare page."""

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from engine.vocabulary import Variant
from pages.parts import wording as w
from pages.parts.charts.axes import Axis
from pages.parts.charts.frame import set_frame
from pages.parts.charts.labels import name_points
from pages.parts.charts.points import ROLES, Point, lowest_drawn, points_of
from pages.parts.charts.template import COLOURS, INK, blank, mode, text


def trade_off(
    variants: list[Variant],
    x: Axis,
    y: Axis,
    device: str,
    limits: Mapping[str, float],
    winner: str | None,
    names: list[str],
) -> tuple[go.Figure, str, list[str]]:
    """Draws one figure against another of every measured variant.

    Args:
        variants: With `admissible` as the limits say it; those without figures are left out.
        x, y: What is drawn.
        device: That is told of where a point is pointed at.
        limits: The limits that are set, by name.
        names: Ids that get a label; the rest is left to hover.

    Returns:
        The figure, its alternative text, and a sentence for whatever the chart leaves out. The second of each
        point's `customdata` is its variant's id.
    """
    points = points_of(variants, x, y, winner)
    if not points:
        return blank(360), "No variant has both figures.", ["No finished variant has both figures yet."]
    baseline = next((p for p in points if p.variant.id == "baseline"), None)
    floor = lowest_drawn(points, baseline, limits) if "max_accuracy_drop_pp" in y.limits else -math.inf
    shown = [p for p in points if p.y >= floor]
    figure = blank(430)
    _draw_front(figure, shown, x, y)
    for role in ("no", "unknown", "yes", "baseline", "winner"):
        _draw_points(figure, [p for p in shown if p.role == role], role, x, y, device)
    notes = set_frame(figure, shown, x, y, limits, baseline.variant if baseline else None, floor)
    name_points(figure, [p for p in shown if p.variant.id in names], shown)
    if len(shown) < len(points):
        left = len(points) - len(shown)
        notes.append(
            f"{left} variant{'s' if left > 1 else ''} below {floor:.1f}{w.NBSP}% "
            f"{'are' if left > 1 else 'is'} not drawn; the table lists every variant."
        )
    return figure, _trade_off_text(points, x, y), notes


def front(points: list[Point], x: Axis, y: Axis) -> list[Point]:
    """Returns the admissible points that no other beats in both, the best in x first."""
    found: list[Point] = []
    for point in sorted(
        (p for p in points if p.variant.admissible == "yes" or p.role == "winner"),
        key=lambda p: (_cost(p.x, x), _cost(p.y, y)),
    ):
        if not found or _cost(point.y, y) < _cost(found[-1].y, y):
            found.append(point)
    return found


def _cost(value: float, axis: Axis) -> float:
    return -value if axis.more_is_better else value


def _draw_front(figure: go.Figure, points: list[Point], x: Axis, y: Axis) -> None:
    """Joins the front; a step, since between two of its points only they exist."""
    joined = front(points, x, y)
    if len(joined) > 1:
        figure.add_scatter(
            x=[p.x for p in joined],
            y=[p.y for p in joined],
            mode="lines",
            name="best trade-offs",
            # what is no worse in x than a place between two points is the one before it
            line={"color": COLOURS[mode()]["blue"], "width": 1.5, "shape": "hv"},
            hoverinfo="skip",
        )


def _draw_points(figure: go.Figure, points: list[Point], role: str, x: Axis, y: Axis, device: str) -> None:
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
    figure.add_scatter(
        x=[p.x for p in points],
        y=[p.y for p in points],
        mode="markers",
        name=legend,
        error_x=bars([(p.x, x.ends(p.variant)) for p in points], faded),
        error_y=bars([(p.y, y.ends(p.variant)) for p in points], faded),
        marker={"symbol": symbol, "color": colour, "size": size, "line": edge},
        # a click opens a variant; the others stay as they are
        unselected={"marker": {"opacity": 1}},
        customdata=[[_hover(p.variant, device), p.variant.id] for p in points],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def bars(places: list[tuple[float, tuple[float, float] | None]], colour: str) -> dict[str, object] | None:
    """Returns the intervals of points as Plotly takes them; None where there is none."""
    if not any(ends for _, ends in places):
        return None
    both = [(at, *(ends or (at, at))) for at, ends in places]
    return {
        "type": "data",
        "symmetric": False,
        "thickness": 1,
        "width": 3,
        "color": colour,
        "array": [high - at for at, _, high in both],
        "arrayminus": [at - low for at, low, _ in both],
    }


def _see_through(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.55)"


def _hover(variant: Variant, device: str) -> str:
    ends = w.interval(variant.accuracy_low, variant.accuracy_high, 100, 2)
    lines = [
        f"<b>{text(variant.id)}</b>",
        f"accuracy {w.percent(variant.accuracy, 0, 0)}" + (f" ({ends})" if ends else ""),
        f"size {w.size(variant.size_bytes)}",
        f"measured here {w.ms(w.measured(variant))}",
        f"{text(w.device(device))} {w.estimate(variant.estimates.get(device))}",
        text(w.misses(variant)),
    ]
    return "<br>".join(line for line in lines if line)


def _trade_off_text(points: list[Point], x: Axis, y: Axis) -> str:
    named = "; ".join(
        f"{p.variant.id}, {ROLES[p.role][0]}: {w.figure(p.x)} {x.unit}, {p.y:.4g} {y.unit}"
        for p in sorted(points, key=lambda p: p.x)
    )
    across, up = (f"{a.title[0].lower()}{a.title[1:]}" for a in (x, y))
    return f"Scatter plot of {up} against {across} for {len(points)} variants. {named}."
