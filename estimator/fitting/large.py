"""Fits NAS-Bench-201 on the Raspberry Pi 5: 17,400 networks a runtime, one family, three input sizes.

Its source states no licence, so what is fitted here is frozen in `coefficients.json`: the rows never ship,
and a fit without them keeps the frozen groups as they are. Checked by five folds over cells and by leaving an
input size out.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from estimator import confidence, features
from estimator.fitting.roofline import fit_group

TERMS = (*features.NAMES[:4], *features.NAMES[6:9], "pool_operations", "add_elements")
TILED = (*TERMS, "tile_macs", "gather_rows")
# Some runtimes compute whole tiles only, and within one topology layers and `mixed` are close to sums of
# other terms,
# which a fit on two input sizes tells apart by chance: the last two forms do without one or the other.
FORMS = (
    TERMS,
    TILED,
    tuple(term for term in TILED if term not in ("layers", "dense_macs", "window_macs")),
    tuple(term for term in TILED if term not in ("layers", "mixed")),
)
FOLDS = 5
REFERENCE = 24  # networks kept as points that novelty is measured from
# One family can't show how errors grow away from it, so the half-width grows by this (log) a step of novelty:
# what the
# held-out families of other groups came to at the steepest slope that was tried.
GROWTH = 0.16


def fit_all(data: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Returns one frozen group a runtime, as it stands in `coefficients.json`; empty where the rows are
    absent.
    """
    if data is None:
        return []
    return [_fit(name, part) for name, part in data.groupby("group", sort=True)]


def _fit(name: str, part: pd.DataFrame) -> dict[str, Any]:
    x, latency_ms = np.stack(part.features.to_list()), part.latency_ms.to_numpy()
    fold = (part.arch_idx.to_numpy() * 7919) % FOLDS
    size = (part.in_h.astype(str) + "x" + part.in_w.astype(str)).to_numpy(str)
    tried: list[tuple[Any, ...]] = []
    for form in FORMS:
        for corrected in (False, True):
            folds = _held_out(x, latency_ms, fold, form, corrected)
            sizes = _held_out(x, latency_ms, size, form, corrected)
            # Whatever is added must earn its place by a tenth.
            worst = max(_error(sizes[size == one], latency_ms[size == one]) for one in np.unique(size))
            loss = (_error(folds, latency_ms) + worst) * (1.1 if corrected else 1)
            tried.append((loss, len(tried), form, corrected, folds, sizes))
    _, _, form, corrected, folds, sizes = min(tried, key=lambda t: t[:2])
    coefficients, correction = _train(x, latency_ms, form, corrected)
    where = confidence.position(x)
    reference = where[_spread(where)]
    radius = max(
        np.linalg.norm(part[:, None] - reference, axis=-1).min(axis=1).max()
        for part in np.array_split(where, 10)
    )
    return {
        "name": name,
        "form": form,
        "coefficients": coefficients,
        "correction": correction,
        "x": x,
        "latency_ms": latency_ms,
        "folds": folds,
        "sizes": sizes,
        "size": size,
        "fold": fold,
        "base": confidence.conformal(np.abs(np.log(folds / latency_ms))),
        "reference": x[_spread(where)],
        "radius": float(radius),
        "energy_mj": part.energy_mj.to_numpy(),
    }


def _error(predicted: np.ndarray, measured: np.ndarray) -> float:
    return float(np.median(np.abs(predicted / measured - 1)))


def _held_out(
    x: np.ndarray, latency_ms: np.ndarray, label: np.ndarray, form: tuple[str, ...], corrected: bool
) -> np.ndarray:
    predicted = np.zeros(len(x))
    for out in (label == one for one in np.unique(label)):
        predicted[out] = predict(x[out], form, *_train(x[~out], latency_ms[~out], form, corrected))
    return predicted


def _train(
    x: np.ndarray, latency_ms: np.ndarray, form: tuple[str, ...], corrected: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Coefficients, and the learned correction's weights where it is wanted."""
    terms = x[:, [features.NAMES.index(n) for n in form]]
    coefficients = fit_group(terms, latency_ms, np.ones(len(x)), None, 0.0)
    if not corrected:
        return coefficients, None
    parts = terms * coefficients
    residual = np.log(latency_ms / parts.sum(axis=1))
    model = Ridge(alpha=1e-3 * len(x), fit_intercept=False).fit(
        features.shares(parts), np.clip(residual, -features.LIMIT, features.LIMIT)
    )
    return coefficients, model.coef_


def predict(
    x: np.ndarray, form: tuple[str, ...], coefficients: np.ndarray, correction: np.ndarray | None
) -> np.ndarray:
    """Latency in ms of feature rows."""
    parts = x[:, [features.NAMES.index(n) for n in form]] * coefficients
    latency_ms: np.ndarray = parts.sum(axis=1)
    if correction is None:
        return latency_ms
    corrected: np.ndarray = latency_ms * np.exp(features.learned(parts, correction))
    return corrected


def _spread(points: np.ndarray) -> list[int]:
    """Indices of REFERENCE points that lie far from one another (farthest-first, from the first)."""
    chosen = [0]
    gap = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < REFERENCE:
        chosen.append(int(np.argmax(gap)))
        gap = np.minimum(gap, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
