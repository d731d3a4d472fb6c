"""What the trade-off is drawn of: its points."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.vocabulary import Variant
from pages.parts.charts.axes import Axis


@dataclass(frozen=True)
class Point:
    """One variant on the trade-off. `role` is winner, baseline, yes, unknown or no."""

    variant: Variant
    x: float
    y: float
    role: str


ROLES = {  # role: legend, symbol, colour, size
    "yes": ("meets every limit", "circle", "blue", 11),
    "unknown": ("not known: a figure is missing", "circle-open", "blue", 11),
    "no": ("misses a limit", "x-thin-open", "grey", 9),
    "baseline": ("your model", "diamond", "orange", 13),
    "winner": ("recommended", "star", "green", 17),
}


def points_of(variants: list[Variant], x: Axis, y: Axis, winner: str | None) -> list[Point]:
    """Returns the finished variants that have both figures; those without, and what is not usable, are left
    out.
    """
    points = []
    for variant in variants:
        across, up = _place(variant, x), _place(variant, y)
        if variant.status != "done" or not variant.usable or across is None or up is None:
            continue
        role = (
            "winner"
            if variant.id == winner
            else "baseline"
            if variant.id == "baseline"
            else variant.admissible
        )
        points.append(Point(variant, across, up, role))
    return points


def _place(variant: Variant, axis: Axis) -> float | None:
    found = axis.value(variant)
    return None if found is None or (axis.is_ratio and found <= 0) else found


def lowest_drawn(points: list[Point], baseline: Point | None, limits: Mapping[str, float]) -> float:
    """Returns the lowest accuracy drawn: a variant that collapsed must not flatten all the others."""
    kept = [p.y for p in points if p.role != "no"] or [p.y for p in points]
    top = max(p.y for p in points)
    reach = max(top - min(kept), 1.0)
    if baseline and "max_accuracy_drop_pp" in limits:
        reach = max(reach, min(top - baseline.y + limits["max_accuracy_drop_pp"], 10 * reach))
    return top - 2.2 * reach
