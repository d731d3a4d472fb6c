"""Where a trade-off's labels go, so that they cover nothing."""

import math

import plotly.graph_objects as go

from pages.parts.charts.points import Point
from pages.parts.charts.template import GROUND, INK, mode, text

PHONE = (270, 300)  # inner pixels of the trade-off chart on a phone: labels that don't overlap there never do


def name_points(figure: go.Figure, named: list[Point], points: list[Point]) -> None:
    """Puts each label at the first place around its point where it covers neither a label, a mark nor the
    edge.
    """
    (x_low, x_high), (y_low, y_high) = figure.layout.xaxis.range, figure.layout.yaxis.range

    def coordinates(point: Point) -> tuple[float, float]:
        x, y = figure.layout.xaxis.type, figure.layout.yaxis.type
        return (
            math.log10(point.x) if x == "log" else point.x,
            math.log10(point.y) if y == "log" else point.y,
        )

    def place(point: Point) -> tuple[float, float]:
        x, y = coordinates(point)
        return (x - x_low) / (x_high - x_low) * PHONE[0], (y_high - y) / (y_high - y_low) * PHONE[1]

    taken = [(x - 9, y - 9, x + 9, y + 9) for x, y in map(place, points)]
    for point in sorted(named, key=lambda p: p.role != "winner"):
        x, y = place(point)
        width, height = 7 * len(point.variant.id) + 4, 17
        best = min(
            _places(width), key=lambda at: covered(box(x + at[0], y + at[1], width, height), taken) + at[2]
        )
        taken.append(box(x + best[0], y + best[1], width, height))
        figure.add_annotation(
            x=coordinates(point)[0],
            y=coordinates(point)[1],
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


def box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Returns left, top, right and bottom of a label whose middle is at x, y, in pixels."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def covered(label: tuple[float, ...], taken: list[tuple[float, ...]]) -> float:
    """Returns how many square pixels of a label are taken or lie outside the chart."""
    area = (label[2] - label[0]) * (label[3] - label[1])
    outside = area - _shared(label, (0, 0, *PHONE))
    return sum(_shared(label, other) for other in taken) + 3 * outside


def _shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
