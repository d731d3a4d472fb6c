"""The fitting itself: non-negative least squares on relative errors, with a pooled prior for groups of few
rows.

Time is a sum of what must be done divided by how fast it is done, so every coefficient is at least zero.
Squared errors are weighted by 1 / (measured * predicted), which approximates squared logarithms, and errors
beyond HUBER count linearly, because single published rows are off by a factor of three.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

HUBER = 0.2
ROUNDS = 6


def _solve(rows: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Non-negative least squares; a term that no row has is nothing, not what rounding leaves of it."""
    told = rows.any(axis=0)
    if not told.all():
        found = np.zeros(rows.shape[1])
        found[told] = _solve(rows[:, told], target)
        return found
    if len(rows) > 2 * rows.shape[1]:
        # The triangle of a QR factorization has the same least-squares solution in a few rows: 20 times
        # faster.
        triangle = np.asarray(np.linalg.qr(np.column_stack([rows, target]), mode="r"))
        rows, target = triangle[:, :-1], triangle[:, -1]
    solution: np.ndarray = nnls(rows, target, maxiter=100 * rows.shape[1])[0]
    return solution


def _weights(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    predicted = np.maximum(predicted, 0.05 * measured)
    error = np.abs(np.log(predicted / measured))
    found: np.ndarray = np.sqrt(np.minimum(1, HUBER / np.maximum(error, 1e-9)) / (predicted * measured))
    return found


def fit_shape(x: np.ndarray, latency_ms: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fits one set of coefficients to many groups that differ by a factor each; returns it up to that factor.

    x [rows, features], the others [rows]; `groups` are small integers.
    """
    shape = _solve(x / latency_ms[:, None] * weights[:, None], weights)
    for _ in range(ROUNDS):
        ratio = np.log(np.maximum(x @ shape, 1e-9) / latency_ms)
        scale = np.array(
            [np.median(ratio[groups == g]) if np.any(groups == g) else 0.0 for g in range(groups.max() + 1)]
        )
        target = latency_ms * np.exp(scale[groups])
        k = weights * _weights(x @ shape, target)
        shape = _solve(x * k[:, None], target * k)
    return shape


def fit_group(
    x: np.ndarray, latency_ms: np.ndarray, weights: np.ndarray, shape: np.ndarray | None, strength: float
) -> np.ndarray:
    """Fits a group's coefficients, drawn towards `shape` (scaled to the group) with a given strength.

    Strength is in rows: what a row with an error of 100 % weighs against a coefficient that moved by 100 %.
    Without a shape the fit is free.
    """
    if shape is None:
        coefficients = _solve(x / latency_ms[:, None] * weights[:, None], weights)
        prior, pull = np.zeros((0, x.shape[1])), np.zeros(0)
        unit = np.ones(x.shape[1])
    else:
        untold = ~x.any(axis=0) & (shape == 0)
        if untold.any():  # neither these rows nor their relatives know the term
            found = np.zeros(x.shape[1])
            found[~untold] = fit_group(x[:, ~untold], latency_ms, weights, shape[~untold], strength)
            return found
        scale = np.exp(np.median(np.log(latency_ms / np.maximum(x @ shape, 1e-9))))
        # A term that the relatives lack may still grow: its unit is 2 % of a typical latency.
        typical = np.maximum(np.median(x, axis=0), 0.2 * np.mean(x, axis=0) + 1e-9)
        unit = scale * shape + 0.02 * np.median(latency_ms) / typical
        coefficients = scale * shape
        prior = np.sqrt(strength) * np.eye(x.shape[1])
        pull = np.sqrt(strength) * coefficients / unit
    for _ in range(ROUNDS):
        k = weights * _weights(x @ coefficients, latency_ms)
        rows = np.vstack([x * unit * k[:, None], prior])
        coefficients = _solve(rows, np.concatenate([latency_ms * k, pull])) * unit
    return coefficients


def row_weights(models: Sequence[str] | np.ndarray) -> np.ndarray:
    """Weights so that a network measured many times counts as one."""
    _, inverse, counts = np.unique(np.asarray(models, dtype=str), return_inverse=True, return_counts=True)
    return 1 / np.sqrt(counts[inverse])
