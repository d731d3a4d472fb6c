"""The charts, all of one template: Okabe and Ito's colours, marks that differ as well, text in the theme's
colour.

Every function returns the figure and its text for those who can't see it.
"""

from pages.parts.charts.answered import answered
from pages.parts.charts.classes import confusion, recall
from pages.parts.charts.layers import sensitivity
from pages.parts.charts.points import AXES
from pages.parts.charts.robust import robustness
from pages.parts.charts.template import COLOURS, CONFIG, INK, blank, mode, text
from pages.parts.charts.trade_off import trade_off

__all__ = [
    "AXES",
    "COLOURS",
    "CONFIG",
    "INK",
    "answered",
    "blank",
    "confusion",
    "mode",
    "recall",
    "robustness",
    "sensitivity",
    "text",
    "trade_off",
]
