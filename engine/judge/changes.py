"""Which images two classifiers answer differently, one rightly and the other wrongly."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

# what each test image was taken for and with what confidence, as it is kept on disk
ANSWERS = np.dtype([("answer", "<u2"), ("confidence", "<f2")])
Direction = Literal["lost", "won"]


@dataclass(frozen=True)
class Change:
    """One image that a variant lost (the baseline was right) or won, with both answers.

    image: its place in the test part; true, before, after: class indices; confidences are 0..1.
    """

    image: int
    direction: Direction
    true: int
    before: int
    after: int
    before_confidence: float
    after_confidence: float


def changes(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> list[Change]:
    """Returns what a variant lost and won against the baseline, where the one that is wrong is surest first.

    labels: int [n]; before, after: ANSWERS [n], the baseline's and the variant's on the same images.
    """
    was, is_now = before["answer"] == labels, after["answer"] == labels
    found = [
        Change(
            image=int(i),
            direction="lost" if was[i] else "won",
            true=int(labels[i]),
            before=int(before["answer"][i]),
            after=int(after["answer"][i]),
            before_confidence=float(before["confidence"][i]),
            after_confidence=float(after["confidence"][i]),
        )
        for i in np.flatnonzero(was != is_now)
    ]
    return sorted(found, key=lambda c: (-wrong_confidence(c), c.image))


def wrong_confidence(change: Change) -> float:
    """Returns how sure the one that is wrong was."""
    return change.after_confidence if change.direction == "lost" else change.before_confidence


def by_class(found: list[Change]) -> dict[int, dict[Direction, int]]:
    """Returns how many images of each true class were lost and won, the most changed class first; classes
    without any are left out.
    """
    counts: dict[int, dict[Direction, int]] = {}
    for change in found:
        counts.setdefault(change.true, {"lost": 0, "won": 0})[change.direction] += 1
    return dict(sorted(counts.items(), key=lambda entry: (-sum(entry[1].values()), entry[0])))
