"""What each layer costs, and how sensitive it is."""

from collections.abc import Sequence

import plotly.graph_objects as go

from engine.judge.layers import LayerRow
from engine.vocabulary import LayerSensitivity
from pages.parts.charts.template import COLOURS, INK, blank, mode, text

CHANGES = {  # what was done to a layer: legend, mark, colour
    "int8": ("as INT8", "circle", "blue"),
    "int4": ("as INT4", "square", "orange"),
    "prune": ("pruned", "triangle-up", "green"),
}
BOUNDS = {  # what binds a layer: legend, colour, pattern
    "compute": ("bound by compute", "blue", ""),
    "memory": ("bound by memory", "green", "/"),
    "overhead": ("bound by overhead", "grey", "."),
}
MOST_LAYERS, LETTERS = 40, 40


def costs(rows: Sequence[LayerRow]) -> tuple[go.Figure, str, int]:
    """Draws a bar a layer, in the order of the network, with what binds it and what it cost in the baseline;
    of a deep network the costliest. Returns how many are left out, too.
    """
    known = [row for row in rows if row.ms]
    costly = sorted(known, key=lambda row: -(row.ms or 0))[:MOST_LAYERS]
    shown = [row for row in known if row in costly]
    figure, colours = blank(110 + 24 * len(shown)), COLOURS[mode()]
    names = [_shown(row.name) if row.op else "an inference by itself" for row in shown]
    # placed by number: names of a deep network may be alike as far as they are shown
    placed = [(str(number), row) for number, row in enumerate(shown)]
    for bound, (legend, colour, pattern) in BOUNDS.items():
        bars = [(place, row) for place, row in placed if row.bound == bound]
        if bars:
            figure.add_bar(
                x=[row.ms for _, row in bars],
                y=[place for place, _ in bars],
                orientation="h",
                name=legend,
                marker={
                    "color": colours[colour],
                    "pattern": {"shape": pattern, "fgcolor": INK[mode()], "fillmode": "overlay"},
                },
                customdata=[[names[int(place)], row.low_ms, row.high_ms] for place, row in bars],
                hovertemplate=(
                    "%{customdata[0]}: %{x:.3g} ms (%{customdata[1]:.3g}–%{customdata[2]:.3g})<extra></extra>"
                ),
            )
    before = [(place, row) for place, row in placed if row.ms_before is not None]
    figure.add_scatter(
        x=[row.ms_before for _, row in before],
        y=[place for place, _ in before],
        mode="markers",
        name="your model",
        marker={
            "symbol": "diamond",
            "size": 10,
            "color": colours["orange"],
            "line": {"width": 1, "color": INK[mode()]},
        },
        hovertemplate="your model: %{x:.3g} ms<extra></extra>",
    )
    places = [place for place, _ in placed]
    figure.update_xaxes(title_text="Predicted latency (ms)", nticks=6, rangemode="tozero")
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=places[::-1], tickvals=places, ticktext=names
    )
    most = max(known, key=lambda row: row.ms or 0)
    said = f"Predicted latency of {len(known)} layers. The costliest is {most.name} with {most.ms:.3g} ms."
    return figure, said, len(known) - len(shown)


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
        title_text="Accuracy lost on validation images (pp)",
        zeroline=True,
        zerolinecolor=INK[mode()],
        nticks=6,
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


def _shown(name: str) -> str:
    """Returns a layer's name as text, its end where it is long: names differ there."""
    return text(name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}")
