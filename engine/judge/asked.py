"""What a recommendation is asked to keep and to prefer, and how good variants are by that."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from engine.judge.limits import check, estimated
from engine.judge.promise import is_sure
from engine.vocabulary import EVEN, Constraints, Goal, Variant, Weights

# in the balanced score one percentage point weighs as much as a factor of two in size and time
PP_WORTH = math.log(2)
# without a limit on accuracy, what loses more than this on validation images is ranked last
FREE_DROP_PP = 2.0


@dataclass(frozen=True)
class Asked:
    """The limits to keep and the goal to prefer on a device; `cautious` takes the upper end of estimates;
    `weights` are those of the balanced goal.
    """

    constraints: Constraints
    goal: Goal
    device: str
    cautious: bool = False
    weights: Weights = EVEN

    def check(self, variant: Variant) -> tuple[Literal["yes", "no", "unknown"], dict[str, float]]:
        """Returns what `limits.check` says of a variant."""
        return check(variant, self.constraints, self.device, self.cautious)

    def with_limit(self, name: str, value: float | None) -> "Asked":
        """Returns the same with one limit changed; None takes it away."""
        return replace(self, constraints=self.constraints.model_copy(update={name: value}))

    def ranked(self, done: list[Variant], baseline: Variant) -> list[Variant]:
        """Returns the admissible variants, best first. One whose limits can't all be checked comes after
        those that can, one that leaves the device's accelerator idle after those that run on it, and one
        that keeps a limit on accuracy as measured after those that keep it for sure, unless only the
        baseline does: that is as it was given, and no reason to take nothing.
        """
        judged = [(v, self.check(v)[0]) for v in done]
        prefers = any(
            is_sure(v, self.constraints) for v, verdict in judged if verdict == "yes" and v != baseline
        )
        free = self.constraints.max_accuracy_drop_pp is None and self.goal != Goal.accuracy

        def is_wild(variant: Variant) -> bool:
            return free and validation_drop_pp(variant, baseline) > FREE_DROP_PP

        reaches = any(verdict == "yes" and not (is_off_unit(v) or is_wild(v)) for v, verdict in judged)

        def key(entry: tuple[Variant, str]) -> tuple[bool | float | str, ...]:
            variant, verdict = entry
            idle = reaches and is_off_unit(variant)
            unsure = prefers and not is_sure(variant, self.constraints)
            behind = (verdict != "yes", idle, unsure, is_wild(variant))
            # what is equal for the goal is settled by all that it leaves out, so that nothing beats the first
            each = replace(self, goal=Goal.speed).score(variant, baseline)
            rest = (size(variant), -each, validation_drop_pp(variant, baseline), variant.id)
            return *behind, -self.score(variant, baseline), *rest

        return [v for v, _ in sorted(((v, verdict) for v, verdict in judged if verdict != "no"), key=key)]

    def score(self, variant: Variant, baseline: Variant) -> float:
        """Returns how good a variant is for the goal; differences of the balanced score are natural
        logarithms of ratios.
        """
        smaller = math.log(size(baseline) / size(variant))
        faster = math.log(self._latency(baseline, variant) / self._latency(variant, baseline))
        lost, weights = validation_drop_pp(variant, baseline), self.weights
        return {
            Goal.accuracy: -lost,
            Goal.size: smaller,
            Goal.speed: faster,
            Goal.balanced: (weights.size * smaller + weights.speed * faster) / 2
            - weights.accuracy * PP_WORTH * max(lost, 0.0),
        }[self.goal]

    def _latency(self, variant: Variant, other: Variant) -> float:
        """Returns the device's estimate where both have one, else the time measured here, else 1."""
        ours, theirs = (estimated(v, self.device, "latency_ms") for v in (variant, other))
        if ours and theirs:
            return ours
        here, there = measured_ms(variant), measured_ms(other)
        return here if here and there else 1.0


def is_off_unit(variant: Variant) -> bool:
    """Tells whether a variant's file leaves the unit idle that its run's device is chosen for."""
    return variant.capability is not None and variant.capability.off_unit


def size(variant: Variant) -> float:
    """Returns a finished variant's bytes; 1 where it says none, so that ratios stay finite."""
    return float(variant.size_bytes or 1)


def measured_ms(variant: Variant) -> float | None:
    """Returns the median latency measured on this machine, None where it was not timed."""
    return variant.host.latency_ms.p50 if variant.host and variant.host.latency_ms else None


def validation_drop_pp(variant: Variant, baseline: Variant) -> float:
    """Returns the validation accuracy lost against the baseline, 0 where there is no labelled data."""
    if variant.validation_accuracy is None or baseline.validation_accuracy is None:
        return 0.0
    return 100 * (baseline.validation_accuracy - variant.validation_accuracy)
