"""Calibrates the 90 % intervals on held-out families, and checks them on families that the calibration did
not see.

A group of few networks can't give a 90 % quantile of its own. So groups share one distribution of relative
scores (a row's score over its group's mean score), each adding its own quantile only as if the shared one had
seen SHAPE networks, and its mean, drawn to all groups' as if those had seen DRAWN families more (10 give a
better interval score on held-out families than 1 to 6: Gneiting and Raftery 2007; SHAPE at 30 or 120 costs it
under 1 %). A mean over n networks is itself uncertain: if scores are exponential, a new score over it follows
F(2, 2n), whose quantile grows as n shrinks; networks of a family are alike, so they count as less.
"""

from collections.abc import Sequence
from math import log

import numpy as np

from estimator import confidence
from estimator.fitting.group import Group

SLOPES = (
    0.25,
    0.5,
    1.0,
    2.0,
)  # never 0: a network unlike all that was measured is never as sure as its neighbours
DRAWN = 10.0  # families that the other groups count as
SHAPE = 60.0  # networks that the shared quantile counts as
LARGEST = 1.5  # log; a single wild row moves a mean no further


def calibrate(groups: list[Group]) -> None:
    """Sets each group's `base` and `slope`, and `nested`: half-widths by calibrations that lacked the row's
    family. Frozen groups, whose rows may not ship, learn from all; none learns from them, or a fit to the
    shipped rows would differ.
    """
    open_ones = [g for g in groups if not g.frozen]
    _calibrate(open_ones, open_ones)
    if len(open_ones) < len(groups):
        _calibrate(groups, [g for g in groups if g.frozen])


def _calibrate(groups: list[Group], wanted: list[Group]) -> None:
    names = {g.name for g in wanted}
    away = [held_out_novelty(g) for g in groups]
    slope, bases = _calibrated(groups, away, "")
    for group, base in zip(groups, bases, strict=True):
        if group.name in names:
            group.base, group.slope, group.nested = base, slope, np.zeros(len(group.x))
    for family in sorted({f for g in wanted for f in g.family.tolist()}):
        slope, bases = _calibrated(groups, away, family)
        for group, base, distance in zip(groups, bases, away, strict=True):
            if group.name in names:
                out = group.family == family
                group.nested[out] = base * (1 + slope * distance[out])


def held_out_novelty(group: Group) -> np.ndarray:
    """Distance of each row's network to the nearest one of another family."""
    where = confidence.position(group.x)
    gaps = np.linalg.norm(where[:, None] - where[None], axis=-1)
    gaps[group.family[:, None] == group.family[None]] = np.inf
    found: np.ndarray = gaps.min(axis=1)
    return found


def _calibrated(
    members: Sequence[Group], away: Sequence[np.ndarray], without: str
) -> tuple[float, list[float]]:
    """The slope of novelty that makes intervals narrowest, and each group's half-width at novelty 0."""
    found = {}
    for slope in SLOPES:
        bases = _bases(members, away, without, slope)
        widths = np.concatenate([b * (1 + slope * d) for b, d in zip(bases, away, strict=True)])
        found[float(np.mean(np.minimum(widths, LARGEST))), slope] = bases
    narrowest = min(found)
    return narrowest[1], found[narrowest]


def _bases(members: Sequence[Group], away: Sequence[np.ndarray], without: str, slope: float) -> list[float]:
    kept = [g.family != without for g in members]
    scores = [
        np.minimum(np.abs(g.errors[k]) / (1 + slope * d[k]), LARGEST)
        for g, d, k in zip(members, away, kept, strict=True)
    ]
    weights = [g.weights[k] ** 2 for g, k in zip(members, kept, strict=True)]
    families = np.array([len(set(g.family[k].tolist())) for g, k in zip(members, kept, strict=True)])
    own = np.array(
        [log(np.average(s, weights=w)) if len(s) else 0.0 for s, w in zip(scores, weights, strict=True)]
    )
    middle = own[families > 0].mean()
    scale = np.exp((families * own + DRAWN * middle) / (families + DRAWN))
    relative = np.concatenate([s / c for s, c in zip(scores, scale, strict=True)])
    # A group speaks as loudly as the root of its families: they are mostly the same ones from group to group.
    loud = np.concatenate([w / w.sum() * np.sqrt(f) for w, f in zip(weights, families, strict=True) if f])
    quantile = _quantile(relative, loud)
    networks = np.array([len(set(g.network[k].tolist())) for g, k in zip(members, kept, strict=True)])
    own_quantiles = [
        _quantile(s / c, w) if len(s) else quantile for s, c, w in zip(scores, scale, weights, strict=True)
    ]
    drawn = [
        quantile * (max(q, 1e-3) / quantile) ** (n / (n + SHAPE))
        for q, n in zip(own_quantiles, networks, strict=True)
    ]
    distinct = np.cbrt(families**2 * networks)
    return [float(c * q * _few(n)) for c, q, n in zip(scale, drawn, distinct, strict=True)]


def _quantile(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(share, confidence.COVERAGE)), len(values) - 1)])


def _few(networks: float) -> float:
    """What the quantile grows by where the mean is over few networks: that of F(2, 2n) over its limit."""
    n, tail = max(networks, 1.0), 1 - confidence.COVERAGE
    return float(n * (tail ** (-1 / n) - 1) / -log(tail))
