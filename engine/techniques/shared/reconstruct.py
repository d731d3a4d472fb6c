"""Least-squares reconstruction: after channels or single weights went, those that are left make up for it
without any training.

He et al., "Channel Pruning for Accelerating Very Deep Neural Networks" (arXiv 1707.06168). For weights W over
inputs x of which only the part S is left and the part R is lost, the W' that comes closest to W x on average
is W[S] + W[R] G[R, S] (G[S, S] + λ)⁻¹ with G the mean of x xᵀ; λ keeps W' near W[S] where few images say
little. Of single weights each row of W loses others, so each is solved by itself (Frantar and Alistarh,
"Optimal Brain Compression", arXiv 2208.11580).
"""

from collections.abc import Iterator

import numpy as np

from engine.backends.backend import Backend
from engine.backends.protocol import Network
from engine.memory import together

DAMPING = 0.005  # share of the mean diagonal of G that holds W' at what was left of W
GRAM_BYTES = 100_000_000  # of moments held at once: a wide layer's alone takes as much
MAX_INPUTS = 4_096  # above it the factorisation takes longer than the accuracy is worth
MAX_WORK = 1e11  # multiply-adds, likewise: what solving all rows of a layer by themselves may take


def reconstructed(backend: Backend, before: Network, after: Network, images: np.ndarray) -> Network:
    """Returns `after` (`before` without some channels) with the weights of dense and plain convolution layers
    solved anew where they lost inputs. images: uint8 [n, h, w, c]."""
    old, new = backend.weights(before), backend.weights(after)
    kept = {name: found for name in new if (found := _kept(old[name], new[name])) is not None}
    lossy = {name: old[name] for name in kept}
    solved = {
        name: _solved(old[name], *kept[name], gram) for name, gram in _grams(backend, before, images, lossy)
    }
    return backend.with_weights(after, solved)


def without_weights(
    backend: Backend, network: Network, masks: dict[str, np.ndarray], images: np.ndarray
) -> Network:
    """Returns the network with zeros where a mask is False; in dense and plain convolution layers the weights
    that are left make up for them. images: uint8 [n, h, w, c].
    """
    whole = backend.weights(network)
    left = {name: np.where(masks[name], w, 0) for name, w in whole.items()}
    lossy = {name: w for name, w in whole.items() if not masks[name].all() and _work(masks[name]) < MAX_WORK}
    for name, gram in _grams(backend, network, images, lossy):
        left[name] = _solved_by_rows(whole[name], masks[name], gram)
    return backend.with_weights(network, left)


def energies(backend: Backend, network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns, by layer, the mean square of each input that its weights meet: float64 [d]. Not for depthwise
    and grouped layers, nor for those of more than MAX_INPUTS.
    """
    weights = backend.weights(network)
    return {name: np.diag(gram).copy() for name, gram in _grams(backend, network, images, weights)}


def _grams(
    backend: Backend, network: Network, images: np.ndarray, weights: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields `input_grams` of the layers of these weights that are not too large, a few held at once."""
    moments = {name: 8 * w[0].size ** 2 for name, w in weights.items() if w[0].size <= MAX_INPUTS}
    for names in together(moments, GRAM_BYTES):
        grams = backend.input_grams(network, images, names)
        for name in list(grams):
            yield name, grams.pop(name)


def _kept(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns which outputs and inputs of a layer are left, found by the values themselves; None where no
    input went or values repeat so that it can't be told."""
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
    solved = _made_up(old[outputs].reshape(len(outputs), -1), left, _damped(gram))
    return solved.reshape(len(outputs), len(inputs), *old.shape[2:]).astype(np.float32)


def _solved_by_rows(old: np.ndarray, mask: np.ndarray, gram: np.ndarray) -> np.ndarray:
    kernel, mask = _damped(gram), mask.reshape(len(mask), -1)
    solved = np.where(mask, old.reshape(mask.shape), 0).astype(np.float64)
    inverse = np.linalg.inv(kernel) if mask.mean() > 0.5 else None
    for row, weights, stays in zip(solved, old.reshape(mask.shape), mask, strict=True):
        left, lost = np.flatnonzero(stays), np.flatnonzero(~stays)
        if inverse is not None and len(lost) < len(left):  # the same by the smaller of two systems
            known = np.linalg.solve(inverse[np.ix_(lost, lost)], weights[lost].astype(np.float64))
            row[left] -= known @ inverse[np.ix_(lost, left)]
        else:
            row[left] = _made_up(weights[None], left, kernel)[0]
    return solved.reshape(old.shape).astype(np.float32)


def _made_up(weights: np.ndarray, left: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns weights [n, left] in the place of weights [n, d]. kernel: G + λ."""
    lost = np.setdiff1d(np.arange(len(kernel)), left)
    missing = weights[:, lost] @ kernel[np.ix_(lost, left)]
    made: np.ndarray = weights[:, left] + np.linalg.solve(kernel[np.ix_(left, left)], missing.T).T
    return made


def _damped(gram: np.ndarray) -> np.ndarray:
    gram[np.diag_indices_from(gram)] += DAMPING * max(float(np.mean(np.diag(gram))), 1e-12)
    return gram


def _work(mask: np.ndarray) -> float:
    """Returns the multiply-adds that solving each row by itself takes."""
    left = np.count_nonzero(mask.reshape(len(mask), -1), axis=1).astype(float)
    return float((np.minimum(left, mask[0].size - left) ** 3).sum() / 3)
