"""The pruning study of a run: what went of the network, in which way, and how much of it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.vocabulary import Variant

KINDS = {"prune_unstructured": "weights", "prune_structured": "channels"}
WAYS = ("at once", "step by step")
SETTING = re.compile(r"(0?\.\d+)(,iterative)?")
ENOUGH = 4  # points that a report draws


@dataclass(frozen=True)
class Pruned:
    """One variant of the study.

    Attributes:
        kind: What went: single `weights` (unstructured) or whole `channels` (structured).
        way: `at once` (one-shot) or `step by step` (iterative).
        share: Of all that can go, what was asked to go, 0..1.
    """

    variant: Variant
    kind: str
    way: str
    share: float

    @property
    def line(self) -> str:
        """The line of a chart that it lies on: "channels, at once"."""
        return f"{self.kind}, {self.way}"


LINES = tuple(f"{kind}, {way}" for kind in KINDS.values() for way in WAYS)


def study(variants: Iterable[Variant]) -> list[Pruned]:
    """Returns the variants that were pruned and nothing else, failed ones too, line by line with rising
    share.
    """
    found = []
    for variant in variants:
        technique, _, setting = variant.id.partition("@")
        if technique in KINDS and (read := SETTING.fullmatch(setting)):
            found.append(Pruned(variant, KINDS[technique], WAYS[bool(read[2])], float(read[1])))
    return sorted(found, key=lambda one: (LINES.index(one.line), one.share))


def paired_ends(variant: Variant, baseline: Variant) -> tuple[float, float] | None:
    """Returns the ends, in percent, of an accuracy as the paired 95 % interval of its drop places it beside
    the baseline's; None where there is none.
    """
    low, high = variant.accuracy_drop_low_pp, variant.accuracy_drop_high_pp
    if low is None or high is None or baseline.accuracy is None:
        return None
    return 100 * baseline.accuracy - high, 100 * baseline.accuracy - low
