"""How far a classifier's own confidence can be trusted, and from where on a person should be asked.

Confidence is the largest probability. Sources: expected calibration error, Guo et al. 2017 (arXiv
1706.04599); answering only what is sure, Geifman and El-Yaniv 2017 (arXiv 1705.08500).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.device.preprocessing import probabilities
from engine.errors import BadInput
from engine.vocabulary import Answered, Variant

BINS = 15  # as Guo et al. have them
POINTS = 24  # of a curve
FEWEST = 20  # validation images that are answered: fewer show nothing


def confidence(scores: np.ndarray, outputs: str) -> np.ndarray:
    """Returns the largest probability of each row of scores [n, classes], as a package's classifier gives it;
    outputs: `logits` or `probabilities`.
    """
    largest = probabilities(scores, outputs).max(axis=1)
    # 8 bits round beyond 1, and a broken network gives no number
    return np.asarray(np.clip(np.nan_to_num(largest, nan=0.0), 0.0, 1.0))


def calibration_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error, 0..1: how far confidence (float [n]) is from the share that is
    right (bool [n]), over bins of equal width.
    """
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    gaps = np.bincount(places, sure, BINS) - np.bincount(places, right.astype(float), BINS)
    return float(np.abs(gaps).sum() / max(counts.sum(), 1))


def curve(
    chosen: tuple[np.ndarray, np.ndarray], shown: tuple[np.ndarray, np.ndarray]
) -> list[dict[str, Any]]:
    """Returns, for rising confidences, what is answered alone and how much of that is right: on the images
    that choose a threshold (validation) and on those that show it (test); each is confidence [n] and right
    [n]. Fields of `Answered`.
    """
    thresholds = np.unique(np.concatenate([[0.0], np.quantile(chosen[0], np.linspace(0, 0.95, POINTS))]))
    return [
        {
            "confidence": float(at),
            "validation_share": share,
            "validation_accuracy": accuracy,
            "test_share": test_share,
            "test_accuracy": test_accuracy,
        }
        for at in thresholds
        for (share, accuracy), (test_share, test_accuracy) in [(_alone(*chosen, at), _alone(*shown, at))]
        if share * len(chosen[0]) >= min(FEWEST, len(chosen[0]))
    ]


def halved(points: Sequence[Answered]) -> Answered | None:
    """Returns the point from which on at most half as many of its own answers are wrong, on validation
    images; None where nothing is wrong there, or nothing helps.
    """
    right = points[0].validation_accuracy if points else None
    if right is None or right == 1.0:
        return None
    return threshold(points, 1 - (1 - right) / 2)


def _alone(sure: np.ndarray, right: np.ndarray, at: float) -> tuple[float, float | None]:
    answered = sure >= at
    return float(answered.mean()), float(right[answered].mean()) if answered.any() else None


def threshold(points: Sequence[Answered], wanted: float) -> Answered | None:
    """Returns the point that answers most images alone and is at least `wanted` right (a fraction) on
    validation images; None where none is.
    """
    enough = [p for p in points if p.validation_accuracy is not None and p.validation_accuracy >= wanted]
    return max(enough, key=lambda p: (p.validation_share, -p.confidence), default=None)


def typed(point: Answered) -> str:
    """Returns a point's confidence as it is typed: rounded down, and finely, as most are close to 1."""
    return f"{math.floor(1e6 * point.confidence) / 1e6:.6g}"


def asked_below(variant: Variant, reach: float | None) -> Answered | None:
    """Returns the point below whose confidence a person is asked, so that what a variant answers alone is at
    least `reach` right (a fraction); None: never. Raises BadInput where no confidence gives that.
    """
    if reach is None:
        return None
    if not 0 < reach <= 1:
        raise BadInput(f"Answers can't be {100 * reach:g} % right: give more than 0 and at most 100.")
    if not variant.answered:
        raise BadInput(
            f"How far the confidence of {variant.id} can be trusted was not measured, so no threshold can be"
            " chosen: run it again with labelled images."
        )
    found = threshold(variant.answered, reach)
    if found is None:
        most = max(p.validation_accuracy or 0.0 for p in variant.answered)
        raise BadInput(
            f"No confidence makes what {variant.id} answers alone {100 * reach:g} % right on validation"
            f" images: the most is {100 * most:.1f} %."
        )
    return found
