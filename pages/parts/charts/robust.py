"""Accuracy of variants on damaged pictures, by severity."""

import plotly.graph_objects as go

from engine.vocabulary import Robustness
from pages.parts.charts.template import COLOURS, blank, mode, text

SYMBOLS = ("diamond", "circle", "square", "triangle-up", "x", "star", "cross", "hexagon")


def robustness(known: dict[str, Robustness]) -> tuple[go.Figure, str]:
    """Draws a line a variant: accuracy on the images as they are, then the mean over all kinds of damage at
    each severity. Lines differ in their marks as well.
    """
    figure, colours = blank(300), list(COLOURS[mode()].values())
    said = []
    for number, (name, found) in enumerate(known.items()):
        rows = list(found.corrupted.values())
        means = [sum(row[s] for row in rows) / len(rows) for s in range(len(rows[0]))]
        figure.add_scatter(
            x=["as they are", *("mild", "medium", "severe")[: len(means)]],
            y=[100 * value for value in (found.clean, *means)],
            name=text(name),
            mode="lines+markers",
            line={"color": colours[(number + 1) % len(colours)]},
            marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 9},
            hovertemplate="%{x}: %{y:.1f} %<extra>%{fullData.name}</extra>",
        )
        said.append(f"{name} {100 * found.clean:.1f} %, damaged {100 * found.mean():.1f} % on average")
    figure.update_xaxes(title_text="Damage", type="category")
    figure.update_yaxes(title_text="Accuracy (%)", nticks=6)
    return figure, f"Accuracy on damaged pictures: {'; '.join(said)}."
