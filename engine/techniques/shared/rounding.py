"""Rounding that looks at the data: error feedback through the inputs' second moments, then bias correction.

Frantar et al., "GPTQ" (arXiv 2210.17323), for the weights; Nagel et al., "Data-Free Quantization" (arXiv
1906.04721) and Finkelstein et al. (arXiv 1906.03193) for the biases.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from engine.backends.backend import Backend
from engine.backends.grid import Grid, dequantized, nearest_grid
from engine.backends.protocol import Network
from engine.memory import together
from engine.techniques.shared.reconstruct import GRAM_BYTES, MAX_INPUTS

DAMPING = 0.01  # share of the mean diagonal that is added to it, as in the GPTQ paper
BLOCK = 128


def rounded(
    backend: Backend, folded: Network, images: np.ndarray, bits: Mapping[str, Literal[4, 8]], progress
) -> dict[str, Grid]:
    """Returns a grid a layer. Dense and plain convolution layers are rounded with error feedback, others to
    nearest.
    """
    weights = backend.weights(folded)
    able = [name for name in bits if bits[name] == 4 and weights[name][0].size <= MAX_INPUTS]
    moments = {name: 8 * weights[name][0].size ** 2 for name in able}
    grids = {}

    def round_one(name: str, gram: np.ndarray | None) -> None:
        if gram is None:
            grids[name] = nearest_grid(weights[name], bits[name])
        else:
            counts = (np.diag(gram) + _damping(gram)).astype(np.float32)
            start = nearest_grid(weights[name], bits[name], counts)
            grids[name] = with_feedback(weights[name], start, gram)
        progress(len(grids) / len(bits))

    for names in together(moments, GRAM_BYTES):
        grams = backend.input_grams(folded, images, names)
        for name in names:
            round_one(name, grams.pop(name, None))
    for name in bits:
        if name not in grids:
            round_one(name, None)
    return {name: grids[name] for name in bits}


def with_feedback(weight: np.ndarray, start: Grid, gram: np.ndarray) -> Grid:
    """Rounds column after column and spreads each column's error over those that are still free, so that the
    layer's
    outputs, not its weights, stay close. gram: float64 [d, d], the inputs' mean x xᵀ."""
    high = 2 ** (start.bits - 1) - 1
    w = weight.reshape(len(weight), -1).astype(np.float64)
    d = w.shape[1]
    hessian = gram + np.eye(d) * _damping(gram)
    order = np.argsort(-np.diag(gram), kind="stable")
    w, hessian = w[:, order], hessian[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T.astype(np.float32)
    w, scales, codes = w.astype(np.float32), start.scales, np.zeros_like(w, np.int8)
    for begin in range(0, d, BLOCK):
        end = min(begin + BLOCK, d)
        errors = np.zeros((len(w), end - begin), np.float32)
        for i in range(begin, end):
            codes[:, i] = np.clip(np.rint(w[:, i] / scales), -high - 1, high)
            errors[:, i - begin] = (w[:, i] - codes[:, i] * scales) / upper[i, i]
            w[:, i + 1 : end] -= np.outer(errors[:, i - begin], upper[i, i + 1 : end])
        w[:, end:] -= errors @ upper[begin:end, end:]
    unordered = np.empty_like(codes)
    unordered[:, order] = codes
    feedback = Grid(start.bits, unordered.reshape(weight.shape), start.scales)
    return feedback if _error(weight, feedback, gram) < _error(weight, start, gram) else start


def _damping(gram: np.ndarray) -> float:
    return DAMPING * max(float(np.mean(np.diag(gram))), 1e-12)


def _error(weight: np.ndarray, grid: Grid, gram: np.ndarray) -> float:
    difference = (weight - dequantized(grid)).reshape(len(weight), -1)
    return float(np.sum(difference @ gram.astype(np.float32) * difference, dtype=np.float64))


def corrected_biases(
    backend: Backend, folded: Network, grids: dict[str, Grid], images: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns biases [out] by layer, each moved by what rounding its own layer's weights shifts its channels'
    mean outputs.

    What the layers before it shift is theirs to take back: if every layer did, the same shift would be taken
    back many times over, and a deep network falls to chance.
    """
    weights, biases = backend.weights(folded), backend.biases(folded)
    moved = {}
    for name, mean in backend.input_means(folded, images).items():
        if name in grids:
            error = (weights[name] - dequantized(grids[name])).reshape(len(weights[name]), -1)
            moved[name] = biases[name] + (error @ mean).astype(np.float32)
    return moved
