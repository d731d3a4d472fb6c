"""Figures from predictions, files and clocks. Pure functions over NumPy; no framework, no opinion.

Sources: Wilson's score interval (Wilson 1927), McNemar's exact test (McNemar 1947), both as in Dietterich
1998, "Approximate statistical tests for comparing supervised classification learning algorithms".
"""

import math
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

FAR = 0.05
HARDLY, LEFT = 0.1, 0.2


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of equal entries of two integer arrays [n]."""
    return float(np.mean(predicted == labels))


def fell_to_chance(before: float, after: float, labels: np.ndarray) -> bool:
    """Tells whether of what an accuracy was `before` above always naming the commonest class of `labels`
    (int [n]) less than a fifth is left; never where it was hardly above that.
    """
    chance = float(np.bincount(labels).max() / len(labels))
    return before - chance > HARDLY and after - chance < LEFT * (before - chance)


def wilson_interval(successes: int, n: int, coverage: float = 0.95) -> tuple[float, float]:
    """Returns the interval of a share; it stays inside 0..1 and holds at 100 % too."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + coverage / 2)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar_p(baseline_right: np.ndarray, variant_right: np.ndarray) -> float:
    """Returns the exact two-sided p-value that two classifiers differ, from who was right where (bool
    [n]).
    """
    lost = int(np.sum(baseline_right & ~variant_right))
    won = int(np.sum(~baseline_right & variant_right))
    n, k = lost + won, min(lost, won)
    if n == 0:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(value) for value in logs))


def paired_interval(first: np.ndarray, second: np.ndarray, coverage: float = 0.95) -> tuple[float, float]:
    """Returns the interval of the share that is right in `first` less that in `second` (bool [n] each, on
    the same images).

    Newcombe's tenth method (Statistics in Medicine 17, 1998, 2635-2650): Wilson's intervals of both shares,
    put together by how much the two go along. It holds near 100 % and where hardly any image differs.
    """
    n = len(first)
    if n == 0:
        return -1.0, 1.0
    both, neither = int(np.sum(first & second)), int(np.sum(~first & ~second))
    lost, won = int(np.sum(first & ~second)), int(np.sum(~first & second))
    one, other = (both + lost) / n, (both + won) / n
    (low, high), (its_low, its_high) = (
        wilson_interval(count, n, coverage) for count in (both + lost, both + won)
    )
    spread = math.sqrt((both + lost) * (won + neither) * (both + won) * (lost + neither))
    along: float = both * neither - lost * won
    if along > 0:
        along = max(along - n / 2, 0)  # Newcombe's correction for continuity
    phi = along / spread if spread else 0.0
    below = (one - low) ** 2 - 2 * phi * (one - low) * (its_high - other) + (its_high - other) ** 2
    above = (high - one) ** 2 - 2 * phi * (high - one) * (other - its_low) + (other - its_low) ** 2
    difference = (lost - won) / n
    return difference - math.sqrt(max(below, 0.0)), difference + math.sqrt(max(above, 0.0))


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns counts [classes, classes], true class by row, predicted class by column."""
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (labels, np.clip(predicted, 0, classes - 1)), 1)
    return table


def recall_by_class(table: np.ndarray) -> list[float | None]:
    """Returns the share of each true class's images that is right, from counts [classes, classes]; None for a
    class without any.
    """
    counts = table.sum(axis=1)
    return [float(table[c, c] / counts[c]) if counts[c] else None for c in range(len(table))]


def classification(
    predicted: np.ndarray, labels: np.ndarray, baseline: np.ndarray | None, classes: int
) -> dict[str, Any]:
    """Returns the accuracy figures of a `Variant` by field name; `baseline` are the baseline's predictions
    [n], None for the baseline itself.
    """
    right = predicted == labels
    low, high = wilson_interval(int(right.sum()), len(labels))
    table = confusion(predicted, labels, classes)
    recalls = recall_by_class(table)
    figures = {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "worst_class_recall": min(share for share in recalls if share is not None),
        "per_class_recall": recalls,
        "confusion": table.tolist(),
        "test_images": len(labels),
        **dict.fromkeys(("accuracy_drop_pp", "accuracy_drop_low_pp", "accuracy_drop_high_pp"), 0.0),
        "p_value": 1.0,
    }
    if baseline is not None:
        baseline_right = baseline == labels
        figures["accuracy_drop_pp"] = round(100 * float(baseline_right.mean() - right.mean()), 6)
        low, high = paired_interval(baseline_right, right)
        figures |= {
            "accuracy_drop_low_pp": round(100 * low, 6),
            "accuracy_drop_high_pp": round(100 * high, 6),
        }
        figures["p_value"] = mcnemar_p(baseline_right, right)
    return figures


def overfitting(seen: np.ndarray, unseen: np.ndarray) -> list[str]:
    """Returns a sentence where images of the training part (right or not, bool [n]) do far better than test
    images, else none.

    Far is 5 percentage points or more, and further than both 95 % intervals reach.
    """
    gap = float(seen.mean() - unseen.mean())
    low, high = (
        wilson_interval(int(seen.sum()), len(seen))[0],
        wilson_interval(int(unseen.sum()), len(unseen))[1],
    )
    if gap < FAR or low <= high:
        return []
    return [
        f"{seen.mean():.1%} of {len(seen):,} training images are right and {unseen.mean():.1%} of"
        f" {len(unseen):,} test images: the model has partly learnt its training images by heart; more or"
        " more varied images would help."
    ]


def compressed_bytes(path: Path) -> int:
    """Returns the file's bytes after DEFLATE at its usual level 6, what a zip or an update over the air would
    carry.

    Level 9 gains less than 1 % on weights and takes ten times as long on pruned ones.
    """
    return len(zlib.compress(path.read_bytes(), 6))


def percentiles(times_ms: list[float]) -> dict[str, float]:
    """Returns p50, p95 and p99 of single-image times."""
    p50, p95, p99 = np.percentile(times_ms, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def time_interleaved(
    runs: dict[str, Callable[[], object]], budget_s: float, rounds: int
) -> dict[str, list[float]]:
    """Times callables in turn, one call each a round, so that a noisy moment harms all alike.

    Returns milliseconds by key. Every callable is warmed up for at least 5 calls and 0.1 s first; rounds stop
    at `rounds` or when `budget_s` is over, but not before 20.
    """
    for call in runs.values():
        began, calls = time.perf_counter(), 0
        while calls < 5 or (time.perf_counter() - began < 0.1 and calls < 200):
            call()
            calls += 1
    times: dict[str, list[float]] = {key: [] for key in runs}
    deadline = time.perf_counter() + budget_s
    for number in range(rounds):
        if number >= 20 and time.perf_counter() > deadline:
            break
        for key, call in runs.items():
            # the first call refills the caches that the other artifacts have emptied; the second one is
            # counted
            call()
            began = time.perf_counter()
            call()
            times[key].append((time.perf_counter() - began) * 1000)
    return times
