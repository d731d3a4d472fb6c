"""The charts, all of one template: Okabe and Ito's colours, marks that differ as well, text in the theme's
colour.

Every function returns the figure and its text for those who can't see it.
"""

import html
import math
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st

from engine.vocabulary import LayerSensitivity, Variant
from pages.parts import wording as w

INK = {"light": "#1C2526", "dark": "#E6ECEB"}
FAINT = {"light": "#DDE2E1", "dark": "#2C393B"}
GROUND = {"light": "#FBFBFA", "dark": "#12181A"}
# Blue and green are taken lighter on the dark ground, so that every mark keeps 3:1 against it.
COLOURS = {
    "light": {
        "blue": "#0072B2",
        "orange": "#E69F00",
        "green": "#00845F",
        "grey": "#767676",
        "red": "#C34D00",
    },
    "dark": {"blue": "#56B4E9", "orange": "#E69F00", "green": "#2CC295", "grey": "#9A9A9A", "red": "#F07B3F"},
}
SEQUENTIAL = {
    "light": ["#F0F2F1", "#56B4E9", "#0072B2", "#00344F"],
    "dark": ["#1B2426", "#0072B2", "#56B4E9", "#D9F0FC"],
}
FONT = "Inter, 'Source Sans', sans-serif"
CONFIG = {"displaylogo": False, "displayModeBar": False}
PHONE = (270, 300)  # inner pixels of the trade-off chart on a phone: labels that don't overlap there never do


def mode() -> str:
    """Returns `light` or `dark`, whichever the browser shows."""
    return "dark" if st.context.theme.type == "dark" else "light"


def blank(height: int) -> go.Figure:
    """Returns an empty figure of the one template."""
    ink, faint = INK[mode()], FAINT[mode()]
    axis = {
        "gridcolor": faint,
        "linecolor": faint,
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "title": {"font": {"color": ink, "size": 13}},
        "tickfont": {"color": ink, "size": 12},
    }
    # in one piece: updating a figure's layout looks at every part of it again, which takes ten times as long
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": ink, "size": 13, "family": FONT},
        "template": None,
        "xaxis": axis,
        "yaxis": axis,
        "hovermode": "closest",
        "hoverlabel": {"font": {"size": 13}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "title": "",
            "font": {"color": ink, "size": 12},
            "itemsizing": "constant",
            "itemclick": False,
            "itemdoubleclick": False,
        },
    }
    return go.Figure(layout=layout)


def text(value: object) -> str:
    """Returns text for a chart: Plotly reads tags and dollar signs, names may hold both."""
    return html.escape(" ".join(str(value).split())).replace("$", "&#36;")


# ---- the trade-off -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """What the trade-off's x may be: its name, its title, and how to read it from a variant."""

    title: str
    unit: str
    limit: str | None

    def value(self, variant: Variant, device: str) -> float | None:
        """Returns the variant's place on this axis, or None where it has none."""
        found = variant.estimates.get(device)
        values = {
            "Size": variant.size_bytes and variant.size_bytes / 1e6,
            "Measured ms": w.measured(variant),
            "Estimated ms": found.latency_ms if found else None,
            "MACs": variant.macs and variant.macs / 1e6,
        }
        return values[self.title]

    def ends(self, variant: Variant, device: str) -> tuple[float, float] | None:
        """Returns the interval on this axis, for estimates."""
        found = variant.estimates.get(device)
        if self.title != "Estimated ms" or not found or found.low_ms is None or found.high_ms is None:
            return None
        return found.low_ms, found.high_ms


AXES = {
    "Size": Axis("Size", "MB", "max_size_mb"),
    "Measured ms": Axis("Measured ms", "ms", None),
    "Estimated ms": Axis("Estimated ms", "ms", "max_latency_ms"),
    "MACs": Axis("MACs", "million", None),
}


@dataclass(frozen=True)
class Point:
    """One variant on the trade-off. `role` is winner, baseline, yes, unknown or no."""

    variant: Variant
    x: float
    y: float
    role: str


ROLES = {  # role: legend, symbol, colour, size
    "yes": ("meets every limit", "circle", "blue", 11),
    "unknown": ("not known: no estimate", "circle-open", "blue", 11),
    "no": ("misses a limit", "x-thin-open", "grey", 9),
    "baseline": ("your model", "diamond", "orange", 13),
    "winner": ("recommended", "star", "green", 17),
}


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
    points = _points(variants, axis, device, winner)
    if not points:
        return blank(360), "No variant has both figures.", ["No finished variant has both figures yet."]
    baseline = next((p for p in points if p.variant.id == "baseline"), None)
    floor = _floor(points, baseline, limits)
    shown = [p for p in points if p.y >= floor]
    figure = blank(430)
    _draw_front(figure, shown)
    for role in ("no", "unknown", "yes", "baseline", "winner"):
        _draw_points(figure, [p for p in shown if p.role == role], role, axis, device)
    notes = _frame(figure, shown, floor, axis, device, limits, baseline, where)
    _name_points(figure, [p for p in shown if p.variant.id in names], shown)
    if len(shown) < len(points):
        left = len(points) - len(shown)
        notes.append(
            f"{left} variant{'s' if left > 1 else ''} below {floor:.1f}{w.NBSP}% "
            f"{'are' if left > 1 else 'is'} not drawn; the table lists every variant."
        )
    return figure, _trade_off_text(points, axis), notes


def _points(variants: list[Variant], axis: Axis, device: str, winner: str | None) -> list[Point]:
    points = []
    for variant in variants:
        x = axis.value(variant, device)
        if variant.status != "done" or variant.accuracy is None or not x:
            continue
        role = (
            "winner"
            if variant.id == winner
            else "baseline"
            if variant.id == "baseline"
            else variant.admissible
        )
        points.append(Point(variant, x, 100 * variant.accuracy, role))
    return points


def _floor(points: list[Point], baseline: Point | None, limits: dict[str, float]) -> float:
    """Returns the lowest accuracy drawn: a variant that collapsed must not flatten all the others."""
    kept = [p.y for p in points if p.role != "no"] or [p.y for p in points]
    top = max(p.y for p in points)
    reach = max(top - min(kept), 1.0)
    if baseline and "max_accuracy_drop_pp" in limits:
        reach = max(reach, min(top - baseline.y + limits["max_accuracy_drop_pp"], 10 * reach))
    return top - 2.2 * reach


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


def _frame(
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


def _name_points(figure: go.Figure, named: list[Point], points: list[Point]) -> None:
    """Puts each label at the first place around its point where it covers neither a label, a mark nor the
    edge.
    """
    (x_low, x_high), (y_low, y_high) = figure.layout.xaxis.range, figure.layout.yaxis.range
    is_log = figure.layout.xaxis.type == "log"

    def place(point: Point) -> tuple[float, float]:
        x = math.log10(point.x) if is_log else point.x
        return (x - x_low) / (x_high - x_low) * PHONE[0], (y_high - point.y) / (y_high - y_low) * PHONE[1]

    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in map(place, points)]
    for point in sorted(named, key=lambda p: p.role != "winner"):
        x, y = place(point)
        width, height = 7 * len(point.variant.id) + 4, 17
        best = min(
            _places(width), key=lambda at: _covered(_box(x + at[0], y + at[1], width, height), taken) + at[2]
        )
        taken.append(_box(x + best[0], y + best[1], width, height))
        figure.add_annotation(
            x=math.log10(point.x) if is_log else point.x,
            y=point.y,
            text=text(point.variant.id),
            ax=best[0],
            ay=best[1],
            showarrow=True,
            arrowhead=0,
            arrowwidth=0.7,
            arrowcolor=INK[mode()],
            standoff=8,
            bgcolor=GROUND[mode()],
            opacity=1,
            borderpad=1,
            font={"size": 12, "color": INK[mode()]},
        )


def _places(width: int) -> list[tuple[float, float, float]]:
    """Returns offsets of a label's middle from its point, with what each costs: near ones first."""
    side = width / 2 + 12
    near = [(0, -22), (0, 22), (side, 0), (-side, 0), (side, -20), (-side, -20), (side, 20), (-side, 20)]
    far = [
        (0, -46),
        (0, 46),
        (side, -44),
        (-side, -44),
        (side, 44),
        (-side, 44),
        (0, -70),
        (0, 70),
        (side, 70),
        (-side, 70),
    ]
    return [(x, y, i * 2.0) for i, (x, y) in enumerate(near + far)]


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _covered(box: tuple[float, ...], taken: list[tuple[float, ...]]) -> float:
    """Returns how many square pixels of a box are taken or lie outside the chart."""

    def shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
        return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))

    area = (box[2] - box[0]) * (box[3] - box[1])
    outside = area - shared(box, (0, 0, *PHONE))
    return sum(shared(box, other) for other in taken) + 3 * outside


def _trade_off_text(points: list[Point], axis: Axis) -> str:
    named = "; ".join(
        f"{p.variant.id}, {ROLES[p.role][0]}: {w.figure(p.x)} {axis.unit}, {p.y:.2f} % accuracy"
        for p in sorted(points, key=lambda p: p.x)
    )
    return f"Scatter plot of test accuracy against {axis.title.lower()} for {len(points)} variants. {named}."


# ---- details of one variant --------------------------------------------------------------------------------


def recall(classes: list[str], ours: list[float | None], theirs: list[float | None]) -> tuple[go.Figure, str]:
    """Draws recall by class, the variant's beside the baseline's; the worst class first.

    A class without test images (None) is left out.
    """
    known = {i: value for i, value in enumerate(ours) if value is not None}
    theirs = {i: value for i, value in enumerate(theirs) if value is not None and i in known}
    order = sorted(known, key=lambda i: -known[i])
    names = [text(classes[i])[:40] for i in order]
    figure = blank(90 + 26 * len(order))
    colours = COLOURS[mode()]
    if theirs:
        figure.add_scatter(
            x=[100 * theirs[i] for i in order if i in theirs],
            y=[name for name, i in zip(names, order, strict=True) if i in theirs],
            mode="markers",
            name="your model",
            marker={
                "symbol": "diamond",
                "size": 11,
                "color": colours["orange"],
                "line": {"width": 1, "color": INK[mode()]},
            },
            hovertemplate="your model: %{x:.1f} %<extra></extra>",
        )
    figure.add_scatter(
        x=[100 * known[i] for i in order],
        y=names,
        mode="markers",
        name="this variant",
        marker={"symbol": "circle", "size": 8, "color": colours["blue"]},
        hovertemplate="this variant: %{x:.1f} %<extra></extra>",
    )
    low = 100 * min([*known.values(), *theirs.values()])
    figure.update_xaxes(title="Recall (%)", range=[max(0, low - 3), 100.8], nticks=6)
    figure.update_yaxes(type="category", gridcolor=FAINT[mode()])
    worst = order[-1]
    return (
        figure,
        (
            f"Recall by class. The worst is {classes[worst]} with {100 * known[worst]:.1f} %, "
            f"the best {classes[order[0]]} with {100 * known[order[0]]:.1f} %."
        ),
    )


def confusion(classes: list[str], counts: list[list[int]]) -> tuple[go.Figure, str]:
    """Draws what was taken for what. Colour is the share of the true class, the figure is the count."""
    shares = [[value / max(sum(row), 1) for value in row] for row in counts]
    names = [text(name)[:24] for name in classes]
    figure = blank(max(280, 90 + 28 * len(names)))
    figure.add_heatmap(
        z=shares,
        x=names,
        y=names,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
        colorscale=SEQUENTIAL[mode()],
        text=[[value or "" for value in row] for row in counts],
        texttemplate="%{text}" if len(names) <= 20 else None,
        customdata=counts,
        hovertemplate="%{y} taken for %{x}: %{customdata} images<extra></extra>",
    )
    figure.update_xaxes(title="Taken for", type="category", showgrid=False)
    figure.update_yaxes(title="True class", type="category", autorange="reversed", showgrid=False)
    wrong = sorted(
        ((n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n), reverse=True
    )
    most = "; ".join(f"{classes[i]} taken for {classes[j]} {n} times" for n, i, j in wrong[:3])
    return figure, f"Confusion matrix. {most or 'No image was taken for another class'}."


CHANGES = {
    "int8": ("as INT8", "circle", "blue"),
    "int4": ("as INT4", "square", "orange"),
    "prune": ("pruned", "triangle-up", "green"),
}


def sensitivity(rows: list[LayerSensitivity]) -> tuple[go.Figure, str]:
    """Draws what is lost when only one layer is changed, layer by layer in the network's order."""
    layers = list(dict.fromkeys(row.layer for row in rows))
    figure = blank(90 + 26 * len(layers))
    for change, (legend, symbol, colour) in CHANGES.items():
        found = [row for row in rows if row.change == change]
        if found:
            figure.add_scatter(
                x=[row.accuracy_drop_pp for row in found],
                y=[text(row.layer) for row in found],
                mode="markers",
                name=legend,
                marker={
                    "symbol": symbol,
                    "size": 10,
                    "color": COLOURS[mode()][colour],
                    "line": {"width": 1, "color": INK[mode()]},
                },
                customdata=[row.loss_increase for row in found],
                hovertemplate="%{y} " + legend + ": %{x:.2f} pp lost, loss %{customdata:+.3f}<extra></extra>",
            )
    figure.update_xaxes(
        title="Accuracy lost on validation images (pp)", zeroline=True, zerolinecolor=INK[mode()], nticks=6
    )
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[text(name) for name in reversed(layers)]
    )
    worst = max(rows, key=lambda row: row.accuracy_drop_pp)
    return (
        figure,
        (
            f"Accuracy lost when only one layer is changed. The most fragile is {worst.layer} "
            f"{CHANGES[worst.change][0]}, which loses {worst.accuracy_drop_pp:.2f} pp."
        ),
    )
