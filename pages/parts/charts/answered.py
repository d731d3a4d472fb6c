"""What a variant answers alone, by how sure it must be."""

from collections.abc import Sequence

import plotly.graph_objects as go

from engine.vocabulary import Answered
from pages.parts.charts.template import COLOURS, INK, blank, mode


def answered(points: Sequence[Answered], chosen: Answered | None) -> tuple[go.Figure, str]:
    """Draws how much of what is answered alone is right, over the share that is, on test images; the chosen
    threshold stands out.
    """
    shown = [p for p in points if p.test_accuracy is not None]
    figure, colours = blank(280), COLOURS[mode()]
    figure.add_scatter(
        x=[100 * p.test_share for p in shown],
        y=[100 * (p.test_accuracy or 0) for p in shown],
        mode="lines+markers",
        line={"color": colours["blue"]},
        customdata=[p.confidence for p in shown],
        hovertemplate="from confidence %{customdata:.2f}: %{x:.1f} % alone, %{y:.2f} % right<extra></extra>",
        showlegend=False,
    )
    said = "Share of the test images that is answered alone, and how much of it is right."
    if chosen is not None and chosen.test_accuracy is not None:
        figure.add_scatter(
            x=[100 * chosen.test_share],
            y=[100 * chosen.test_accuracy],
            mode="markers",
            marker={
                "symbol": "star",
                "size": 16,
                "color": colours["green"],
                "line": {"width": 1, "color": INK[mode()]},
            },
            hoverinfo="skip",
            showlegend=False,
        )
        said += (
            f" Chosen: from confidence {chosen.confidence:.2f}, {100 * chosen.test_share:.1f} % alone,"
            f" {100 * chosen.test_accuracy:.2f} % right."
        )
    figure.update_xaxes(title_text="Answered alone (% of the test images)", nticks=7)
    figure.update_yaxes(title_text="Right (%)", nticks=6)
    return figure, said
