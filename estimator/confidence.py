"""How far a prediction can be trusted: conformal half-widths, the distance to what was measured, and both in
words.

A half-width is a log factor: the interval is latency / e**h .. latency * e**h. It is calibrated on families
that were held out (split conformal: Vovk et al. 2005; scaled by difficulty: Papadopoulos et al. 2008), where
difficulty is 1 + slope * novelty.
"""

from math import erf, log, sqrt

import numpy as np

COVERAGE = 0.9
NEAR = 0.25  # confidence is the chance that the true value lies within this share of the prediction
# What counts as one step apart, for each axis of `position`: a factor e**2 in size, e in the ratios, 40 % of
# the MACs, 10 % of the traffic.
STEPS = np.array([2.0, 1.0, 1.5, 1.0, 0.4, 0.3, 0.3, 0.1])
FAR = 1.0


def position(features: np.ndarray) -> np.ndarray:
    """Where networks lie among others, float64 [..., 8], from features [..., len(features.NAMES)]: size,
    activations, parameters and MACs per layer relative to it, the shares of window, depthwise and grouped
    MACs, and of the traffic that is branches read again."""
    dense, window, depthwise, grouped = np.moveaxis(features[..., 2:6], -1, 0)
    layers, activations, parameters = features[..., 1], features[..., 6], features[..., 7]
    read_again = features[..., -1]
    macs = np.maximum(dense + window + depthwise + grouped, 1e-6)
    found: np.ndarray = (
        np.stack(
            [
                np.log(macs),
                np.log(np.maximum(activations, 1e-6) / macs),
                np.log(np.maximum(parameters, 1e-6) / macs),
                np.log(macs / np.maximum(layers, 1)),
                window / macs,
                depthwise / macs,
                grouped / macs,
                read_again / np.maximum(activations, 1e-6),
            ],
            axis=-1,
        )
        / STEPS
    )
    return found


def novelty(features: np.ndarray, measured: np.ndarray) -> float:
    """Distance to the nearest measured network, in steps; 0 for one that was measured. `measured` [networks,
    ...].
    """
    return float(np.min(np.linalg.norm(position(measured) - position(features), axis=-1)))


def similar(features: np.ndarray, measured: np.ndarray) -> int:
    """How many measured networks lie within FAR."""
    return int(np.sum(np.linalg.norm(position(measured) - position(features), axis=-1) <= FAR))


def gives_quantile(networks: int, coverage: float = COVERAGE) -> bool:
    """Whether so many networks can tell which score a new one stays below with the given chance."""
    return int(np.ceil((networks + 1) * coverage)) <= networks


def conformal(scores: np.ndarray, coverage: float = COVERAGE) -> float:
    """The score that a new one stays below with the given chance; the largest score where there are too
    few.
    """
    rank = int(np.ceil((len(scores) + 1) * coverage))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def half_width(base: float, slope: float, distance: float, transfer: float = 0.0) -> float:
    """Log half-width of the interval: the group's own, grown with novelty, joined with a transfer's measured
    error.
    """
    return sqrt((base * (1 + slope * distance)) ** 2 + transfer**2)


def score(half: float) -> float:
    """Confidence, 0..1: the chance of lying within NEAR if errors are normal with this 90 % half-width."""
    return erf(log(1 + NEAR) * 1.6449 / max(half, 1e-6) / sqrt(2))


def in_words(confidence: float) -> str:
    """`high`, `fair`, `low` or `very low`."""
    return (
        "high"
        if confidence >= 0.75
        else "fair"
        if confidence >= 0.4
        else "low"
        if confidence >= 0.2
        else "very low"
    )
