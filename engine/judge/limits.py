"""The limits that a variant must keep: one table for the judge, the command line and the pages.

Limits are checked on what is reported: test accuracy, file size, the device's estimate, or its sensor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.errors import BadInput, one_line
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

    @property
    def short(self) -> str:
        """What is limited, as briefly as it can't be taken for another."""
        return f"{self.label}{self.where}" if self.label == "recall" else self.label

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


def energy(variant: Variant, device: str, cautious: bool = False) -> float | None:
    """Returns the millijoules of an image: measured by the device's own sensor, else as predicted. No
    interval is known of either.
    """
    found = variant.measured_energy_mj
    return estimated(variant, device, "energy_mj") if found is None else found


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
        Limit("max_energy_mj", "energy", " for one image", "mJ", "--max-energy-mj", energy),
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
        # of which class, `limit_of` knows
        Limit(
            "min_class_recall",
            "recall",
            " of one class",
            "",
            "--min-class-recall",
            lambda variant, device, cautious: None,
            is_least=True,
            at_worst=lambda variant: None,
        ),
        Limit(
            "max_robust_drop_pp",
            "drop on damaged pictures",
            "",
            "pp",
            "--max-robust-drop",
            lambda variant, device, cautious: variant.robust_drop_pp,
        ),
    )
}


def limit_of(name: str, constraints: Constraints) -> Limit:
    """Returns a limit as these constraints mean it: that on the recall of one class is about their class."""
    limit, index = LIMITS[name], constraints.recall_index
    if name != "min_class_recall" or index is None:
        return limit
    return replace(
        limit,
        where=f" of class '{one_line(constraints.recall_class or str(index))[:40]}'",
        value=lambda variant, device, cautious: class_recall(variant, index),
        at_worst=lambda variant: class_recall_low(variant.confusion, index),
    )


def placed(constraints: Constraints, classes: Sequence[str]) -> Constraints:
    """Returns the constraints with the place of their class among `classes`; raises BadInput where there is
    none of that name, or where one of both is missing.
    """
    name = constraints.recall_class
    if constraints.min_class_recall is None and name is None:
        return constraints
    if constraints.min_class_recall is None or name is None:
        raise BadInput("A limit on the recall of one class needs both: the class, and its least recall.")
    if name not in classes:
        known = ", ".join(one_line(c)[:40] for c in classes[:10]) + (" …" if len(classes) > 10 else "")
        raise BadInput(f"No class is called '{one_line(name)[:40]}': choose one of {known}.")
    return constraints.model_copy(update={"recall_index": list(classes).index(name)})


def class_recall(variant: Variant, index: int) -> float | None:
    """Returns the recall of one class, None where it has no test images."""
    return variant.per_class_recall[index] if index < len(variant.per_class_recall) else None


def class_recall_low(counts: list[list[int]], index: int) -> float | None:
    """Returns the lower end of a class's recall, from counts [true class, predicted class]."""
    if index >= len(counts) or not sum(counts[index]):
        return None
    return wilson_interval(counts[index][index], sum(counts[index]))[0]


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
    for name, most in constraints.set_limits().items():
        limit = limit_of(name, constraints)
        value = limit.value(variant, device, cautious)
        if value is None:
            is_unknown = True
        elif limit.miss(value, most) > ROUNDING:
            misses[name] = round(limit.miss(value, most), 6)
    if misses:
        return "no", misses
    return ("unknown" if is_unknown else "yes"), {}


def kept(variant: Variant, constraints: Constraints) -> dict[str, Kept]:
    """Returns, for each limit on accuracy that is kept, `sure` where the end of the 95 % interval that speaks
    against the variant keeps it too, else `measured`: test images are a sample, and a limit is a promise.
    """
    found: dict[str, Kept] = {}
    for name, most in constraints.set_limits().items():
        limit = limit_of(name, constraints)
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
    words = []
    for name, value in constraints.set_limits().items():
        limit = limit_of(name, constraints)
        sign = "≥" if limit.is_least else "≤"
        words.append(f"{limit.short} {sign} {limit.with_unit(f'{value:g}').replace(' ', NBSP)}")
    return ", ".join(words) or "no limits"
