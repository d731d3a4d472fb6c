"""From an answer to a verdict: which classes are good, and how sure is sure enough."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.station.refused import Refused

OK, DEFECT, UNSURE = "ok", "defect", "unsure"
# why an item is unsure
LOW, NO_PICTURE, LATE, FAILED = "low confidence", "no picture", "late", "classifier failed"
MIN_CONFIDENCE = 0.7


@dataclass(frozen=True)
class Verdict:
    """What becomes of one item; only `ok` lets it pass."""

    verdict: str
    reason: str = ""
    detail: str = ""
    name: str | None = None
    index: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Rules:
    """Which classes are good ones; all others are defects. least: None for the package's own threshold."""

    good: frozenset[str]
    least: float | None = None

    def verdict(self, answer: dict[str, Any], stored: float | None) -> Verdict:
        """Returns the verdict on a worker's answer. stored: the package's own threshold, if it has one."""
        if "no_picture" in answer:
            return Verdict(UNSURE, NO_PICTURE, f"it {answer['no_picture']}")
        found = Verdict(
            OK if answer["class"] in self.good else DEFECT,
            name=answer["class"],
            index=answer["index"],
            probability=answer["probability"],
        )
        least = threshold(self.least, stored)
        # also for what is no number
        if not answer["probability"] >= least:
            return Verdict(UNSURE, LOW, f"below {least:.3f}", found.name, found.index, found.probability)
        return found


def threshold(asked: float | None, stored: float | None) -> float:
    """Returns the least probability that is an answer: what was asked for, else the package's, else ours."""
    return next((found for found in (asked, stored) if found is not None), MIN_CONFIDENCE)


def rules(classes: Sequence[str], ok: Collection[str], defect: Collection[str], least: float | None) -> Rules:
    """Returns the rules for a package's classes. Where only one kind is named, the others are the other kind.

    Raises Refused for an unknown class, one of both kinds, or one of neither where both kinds are named.
    """
    listed = ", ".join(classes)
    for name in (*ok, *defect):
        if name not in classes:
            raise Refused(f"The package has no class {name!r}: its classes are {listed}.")
    if both := set(ok) & set(defect):
        raise Refused(f"Class {min(both)!r} is named as good and as a defect: name it once.")
    if not ok and not defect:
        raise Refused(f"Say which classes are good ones, with --ok-class: the package has {listed}.")
    left = [name for name in classes if name not in (*ok, *defect)]
    if ok and defect and left:
        raise Refused(f"Class {left[0]!r} is named neither as good nor as a defect: add it to one of them.")
    good = frozenset(ok or left)
    if not good or len(good) == len(classes):
        raise Refused(f"All classes are of one kind, so there is nothing to sort: the package has {listed}.")
    return Rules(good, least)
