"""What the trade-off is drawn of: its axes and its points."""

from dataclasses import dataclass

from engine.vocabulary import Variant
from pages.parts import wording as w


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


def points_of(variants: list[Variant], axis: Axis, device: str, winner: str | None) -> list[Point]:
    """Returns the finished variants that have both figures; those without, and what is not usable, are left
    out.
    """
    points = []
    for variant in variants:
        x = axis.value(variant, device)
        if variant.status != "done" or not variant.usable or variant.accuracy is None or not x:
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


def lowest_drawn(points: list[Point], baseline: Point | None, limits: dict[str, float]) -> float:
    """Returns the lowest accuracy drawn: a variant that collapsed must not flatten all the others."""
    kept = [p.y for p in points if p.role != "no"] or [p.y for p in points]
    top = max(p.y for p in points)
    reach = max(top - min(kept), 1.0)
    if baseline and "max_accuracy_drop_pp" in limits:
        reach = max(reach, min(top - baseline.y + limits["max_accuracy_drop_pp"], 10 * reach))
    return top - 2.2 * reach
