"""The limits that a variant must keep: one table for the judge, the command line and the pages.

Limits are checked on what is reported: test accuracy, file size, the device's estimate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.judge.figures import NBSP
from engine.judge.measure import wilson_interval
from engine.vocabulary import Constraints, Experiment, Kept, Variant

ROUNDING = 1e-9  # what is exactly at its limit is within it


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        id: Its field in `Constraints`.
        label, where: What is limited, as in "latency" and " on the device".
        unit: Of the figure; "" for a share of 0..1.
        option: Of the command line.
        value: What a variant has, on a device, cautiously or not; None where it is not known.
        is_least: The figure must be as large, not as small, as the limit.
        at_worst: The end of the figure's 95 % interval that speaks against a variant; None where that is not
            known. No function where the figure is no share of test images.
    """

    id: str
    label: str
    where: str
    unit: str
    option: str
    value: Callable[[Variant, str, bool], float | None]
    is_least: bool = False
    at_worst: Callable[[Variant], float | None] | None = None

    def miss(self, value: float, limit: float) -> float:
        """Returns by how much a figure breaks the limit, in the limit's unit; 0 or less where it keeps it."""
        return limit - value if self.is_least else value - limit

    def with_unit(self, figure: str) -> str:
        """Returns a figure with the limit's unit."""
        return f"{figure} {self.unit}".rstrip()


def estimated(variant: Variant, device: str, figure: str) -> float | None:
    """Returns one figure of a variant's estimate for a device, None where there is none."""
    estimate = variant.estimates.get(device)
    found: float | None = getattr(estimate, figure) if estimate else None
    return found


def _size(variant: Variant, device: str, cautious: bool) -> float | None:
    return None if variant.size_bytes is None else variant.size_bytes / 1e6


def _estimate(middle: str, upper: str) -> Callable[[Variant, str, bool], float | None]:
    return lambda variant, device, cautious: estimated(variant, device, upper if cautious else middle)


LIMITS = {
    limit.id: limit
    for limit in (
        Limit(
            "max_accuracy_drop_pp",
            "accuracy drop",
            "",
            "pp",
            "--max-accuracy-drop",
            lambda variant, device, cautious: variant.accuracy_drop_pp,
            at_worst=lambda variant: variant.accuracy_drop_high_pp,
        ),
        Limit("max_size_mb", "size", "", "MB", "--max-size-mb", _size),
        Limit(
            "max_latency_ms",
            "latency",
            " on the device",
            "ms",
            "--max-latency-ms",
            _estimate("latency_ms", "high_ms"),
        ),
        Limit(
            "max_memory_mb",
            "memory",
            " on the device",
            "MB",
            "--max-memory-mb",
            _estimate("memory_mb", "memory_high_mb"),
        ),
        # no interval is known of the energy
        Limit(
            "max_energy_mj",
            "energy",
            " for one image",
            "mJ",
            "--max-energy-mj",
            _estimate("energy_mj", "energy_mj"),
        ),
        Limit(
            "min_accuracy",
            "accuracy",
            " on test images",
            "",
            "--min-accuracy",
            lambda variant, device, cautious: variant.accuracy,
            is_least=True,
            at_worst=lambda variant: variant.accuracy_low,
        ),
        Limit(
            "min_recall",
            "recall",
            " of the worst class",
            "",
            "--min-recall",
            lambda variant, device, cautious: variant.worst_class_recall,
            is_least=True,
            at_worst=lambda variant: worst_recall_low(variant.confusion),
        ),
    )
}


def runs_there(variant: Variant, device: str) -> bool:
    """Tells whether the device takes the file at all: not when that is called pointless and nothing can be
    predicted.
    """
    pointless = variant.capability is not None and variant.capability.answer == "pointless"
    return not (pointless and estimated(variant, device, "latency_ms") is None)


def check(
    variant: Variant, constraints: Constraints, device: str, cautious: bool = False
) -> tuple[Literal["yes", "no", "unknown"], dict[str, float]]:
    """Returns `yes`, `no` or `unknown`, and by how much each broken limit is missed, in the limit's unit.

    What is not usable, or does not run there, is no answer to any limits.
    """
    if variant.status != "done" or not variant.usable or not runs_there(variant, device):
        return "no", {}
    misses, is_unknown = {}, False
    for name, limit in constraints.set_limits().items():
        value = LIMITS[name].value(variant, device, cautious)
        if value is None:
            is_unknown = True
        elif LIMITS[name].miss(value, limit) > ROUNDING:
            misses[name] = round(LIMITS[name].miss(value, limit), 6)
    if misses:
        return "no", misses
    return ("unknown" if is_unknown else "yes"), {}


def kept(variant: Variant, constraints: Constraints) -> dict[str, Kept]:
    """Returns, for each limit on accuracy that is kept, `sure` where the end of the 95 % interval that speaks
    against the variant keeps it too, else `measured`: test images are a sample, and a limit is a promise.
    """
    found: dict[str, Kept] = {}
    for name, most in constraints.set_limits().items():
        limit = LIMITS[name]
        if limit.at_worst is None or (value := limit.value(variant, "", False)) is None:
            continue
        if limit.miss(value, most) <= ROUNDING:
            worst = limit.at_worst(variant)
            is_sure = worst is not None and limit.miss(worst, most) <= ROUNDING
            found[name] = "sure" if is_sure else "measured"
    return found


def worst_recall_low(counts: list[list[int]]) -> float | None:
    """Returns the lowest lower end of the classes' recalls, from counts [true class, predicted class]; None
    without any.
    """
    return min(
        (wilson_interval(row[i], sum(row))[0] for i, row in enumerate(counts) if sum(row)), default=None
    )


def judged(variant: Variant, constraints: Constraints, device: str, cautious: bool = False) -> Variant:
    """Returns the variant with `admissible`, `misses` and `kept` set for these limits."""
    admissible, misses = check(variant, constraints, device, cautious)
    known = {} if admissible == "no" else kept(variant, constraints)
    return variant.model_copy(update={"admissible": admissible, "misses": misses, "kept": known})


def judge(variant: Variant, experiment: Experiment) -> Variant:
    """Returns the variant as its experiment's limits judge it."""
    return judged(variant, experiment.constraints, experiment.device, experiment.cautious)


def in_words(constraints: Constraints) -> str:
    """Returns the limits that are set: "accuracy drop ≤ 0.5 pp, latency ≤ 5 ms"."""
    words = [
        f"{LIMITS[name].label} {'≥' if LIMITS[name].is_least else '≤'}"
        f" {LIMITS[name].with_unit(f'{value:g}').replace(' ', NBSP)}"
        for name, value in constraints.set_limits().items()
    ]
    return ", ".join(words) or "no limits"
