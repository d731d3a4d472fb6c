"""The sensitivity of each layer."""

import plotly.graph_objects as go

from engine.vocabulary import LayerSensitivity
from pages.parts.charts.template import COLOURS, INK, blank, mode, text

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
