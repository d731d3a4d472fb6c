"""Least-squares reconstruction: after channels went, the layers that read them make up for it without any
training.

He et al., "Channel Pruning for Accelerating Very Deep Neural Networks" (arXiv 1707.06168). For weights W over
inputs x
of which only the part S is left and the part R is lost, the W' that comes closest to W x on average is
W[S] + W[R] G[R, S] (G[S, S] + λ)⁻¹ with G the mean of x xᵀ; λ keeps W' near W[S] where few images say little.
"""

import numpy as np

from engine.backends.backend import Backend
from engine.backends.protocol import Network
from engine.memory import together

DAMPING = 0.005  # share of the mean diagonal of G that holds W' at what was left of W
GRAM_BYTES = 100_000_000  # of moments held at once: a wide layer's alone takes as much
MAX_INPUTS = 4_096  # above it the factorisation takes longer than the accuracy is worth


def reconstructed(backend: Backend, before: Network, after: Network, images: np.ndarray) -> Network:
    """Returns `after` (`before` without some channels) with the weights of dense and plain convolution layers
    solved
    anew where they lost inputs. images: uint8 [n, h, w, c]."""
    old, new = backend.weights(before), backend.weights(after)
    kept = {name: found for name in new if (found := _kept(old[name], new[name])) is not None}
    solved = {}
    moments = {name: 8 * old[name][0].size ** 2 for name in kept if old[name][0].size <= MAX_INPUTS}
    for names in together(moments, GRAM_BYTES):
        grams = backend.input_grams(before, images, names)
        for name in list(grams):
            solved[name] = _solved(old[name], *kept[name], grams.pop(name))
    return backend.with_weights(after, solved)


def _kept(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns which outputs and inputs of a layer are left, found by the values themselves; None where no
    input went or
    values repeat so that it can't be told."""
    if new.shape[1] == old.shape[1] or old.shape[2:] != new.shape[2:]:
        return None
    old, new = old.reshape(*old.shape[:2], -1)[..., 0], new.reshape(*new.shape[:2], -1)[..., 0]
    column = new[:, np.argmax((new != 0).all(axis=0))]
    for source in range(old.shape[1]):
        outputs = _places(old[:, source], column)
        if outputs is None:
            continue
        inputs = _places(old[outputs[0]], new[0])
        if inputs is not None and np.array_equal(old[np.ix_(outputs, inputs)], new):
            return outputs, inputs
    return None


def _places(values: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Returns where each wanted value stands, None unless each stands there, in this order."""
    order = np.argsort(values, kind="stable")
    found = order[np.minimum(np.searchsorted(values, wanted, sorter=order), len(values) - 1)]
    return found if np.array_equal(values[found], wanted) and (np.diff(found) > 0).all() else None


def _solved(old: np.ndarray, outputs: np.ndarray, inputs: np.ndarray, gram: np.ndarray) -> np.ndarray:
    window = int(np.prod(old.shape[2:], dtype=int))
    left = (inputs[:, None] * window + np.arange(window)).ravel()
    lost = np.setdiff1d(np.arange(len(gram)), left)
    weights = old[outputs].reshape(len(outputs), -1)
    damping = DAMPING * max(float(np.mean(np.diag(gram))), 1e-12)
    kernel = gram[np.ix_(left, left)]
    kernel[np.diag_indices_from(kernel)] += damping
    missing = weights[:, lost] @ gram[np.ix_(lost, left)]
    solved = weights[:, left] + np.linalg.solve(kernel, missing.T).T
    return solved.reshape(len(outputs), len(inputs), *old.shape[2:]).astype(np.float32)
