"""What an axis of the trade-off may show: where a variant stands, with which interval, and its limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.judge.limits import LIMITS, energy, estimated, worst_recall_low
from engine.vocabulary import Variant
from pages.parts import wording as w

Ends = Callable[[Variant], tuple[float, float] | None]


def _no_ends(variant: Variant) -> None:
    return None


@dataclass(frozen=True)
class Axis:
    """One thing that variants are drawn by.

    Attributes:
        title, unit: Of the figure, for people.
        value: Where a variant stands; None where that is not known.
        ends: The ends of its interval; None where there is none.
        limits: The limits that are lines on it, as their ids.
        is_ratio: Figures are above zero and may span powers of ten; else they are shares or points.
        more_is_better: As of accuracy; else less is.
    """

    title: str
    unit: str
    value: Callable[[Variant], float | None]
    ends: Ends = _no_ends
    limits: tuple[str, ...] = ()
    is_ratio: bool = True
    more_is_better: bool = False

    def lines(self, limits: Mapping[str, float], baseline: Variant | None) -> list[tuple[float, str]]:
        """Returns where the limits that are set lie on this axis, each with its words."""
        found = []
        for name in self.limits:
            if name not in limits:
                continue
            at, sign = limits[name], "≥" if LIMITS[name].is_least else "≤"
            if name == "max_accuracy_drop_pp":
                if baseline is not None and baseline.accuracy is not None:
                    found.append((100 * baseline.accuracy - at, f"drop {sign} {at:g}{w.NBSP}pp"))
                continue
            at *= 1 if LIMITS[name].unit else 100
            found.append((at, f"{sign} {at:g}{w.NBSP}{self.unit}"))
        return found


def axes(own: str, device: str, sensor: bool = False) -> dict[str, Axis]:
    """Returns what the trade-off can be drawn by; own: the run's device, which its limits are about. device:
    the one that predictions are shown for. sensor: the user's own board measured energies.
    """
    is_measured = sensor and device == own
    where = f"predicted on {w.device(device)}"

    def of(*names: str) -> tuple[str, ...]:
        return names if device == own else ()

    return {
        "size": Axis("Size", "MB", lambda v: _over(v.size_bytes, 1e6), limits=("max_size_mb",)),
        "compressed": Axis("Compressed size", "MB", lambda v: _over(v.compressed_bytes, 1e6)),
        "latency": Axis(
            f"Latency {where}",
            "ms",
            lambda v: estimated(v, device, "latency_ms"),
            _predicted(device, "low_ms", "high_ms"),
            of("max_latency_ms"),
        ),
        "measured": Axis("Latency measured here", "ms", w.measured),
        "memory": Axis(
            f"Memory {where}",
            "MB",
            lambda v: estimated(v, device, "memory_mb"),
            _predicted(device, "memory_low_mb", "memory_high_mb"),
            of("max_memory_mb"),
        ),
        "energy": Axis(
            f"Energy on {w.device(device)}" if is_measured else f"Energy {where}",
            "mJ",
            lambda v: energy(v, device) if is_measured else estimated(v, device, "energy_mj"),
            limits=of("max_energy_mj"),
        ),
        "macs": Axis("Multiply-accumulates", "million", lambda v: _over(v.macs, 1e6)),
        "accuracy": Axis(
            "Test accuracy",
            "%",
            lambda v: _percent(v.accuracy),
            lambda v: _both(_percent(v.accuracy_low), _percent(v.accuracy_high)),
            ("max_accuracy_drop_pp", "min_accuracy"),
            is_ratio=False,
            more_is_better=True,
        ),
        "recall": Axis(
            "Recall of the worst class",
            "%",
            lambda v: _percent(v.worst_class_recall),
            lambda v: _both(_percent(worst_recall_low(v.confusion)), _percent(v.worst_class_recall)),
            ("min_recall",),
            is_ratio=False,
            more_is_better=True,
        ),
        "calibration": Axis(
            "Confidence off by", "%", lambda v: _percent(v.calibration_error), is_ratio=False
        ),
        "robustness": Axis(
            "Lost on damaged pictures",
            "pp",
            lambda v: v.robust_drop_pp,
            limits=("max_robust_drop_pp",),
            is_ratio=False,
        ),
    }


PREDICTED = ("latency", "memory", "energy")


def _over(count: float | None, factor: float) -> float | None:
    return None if count is None else count / factor


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _both(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _predicted(device: str, low: str, high: str) -> Ends:
    return lambda v: _both(estimated(v, device, low), estimated(v, device, high))
