"""The charts, all of one template: Okabe and Ito's colours, marks that differ as well, text in the theme's
colour.

Every function returns the figure and its text for those who can't see it.
"""

from pages.parts.charts.answered import answered
from pages.parts.charts.axes import PREDICTED, Axis, axes
from pages.parts.charts.classes import confusion, recall
from pages.parts.charts.layers import CHANGES, costs, sensitivity
from pages.parts.charts.points import points_of
from pages.parts.charts.pruning import pruning
from pages.parts.charts.robust import robustness
from pages.parts.charts.template import COLOURS, CONFIG, INK, blank, mode, text
from pages.parts.charts.trade_off import front, trade_off

__all__ = [
    "CHANGES",
    "COLOURS",
    "CONFIG",
    "INK",
    "PREDICTED",
    "Axis",
    "answered",
    "axes",
    "blank",
    "confusion",
    "costs",
    "front",
    "mode",
    "points_of",
    "pruning",
    "recall",
    "robustness",
    "sensitivity",
    "text",
    "trade_off",
]
