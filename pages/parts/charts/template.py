"""What all charts share: colours, an empty figure, text."""

import html

import plotly.graph_objects as go
import streamlit as st

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
