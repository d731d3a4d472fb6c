"""Rounding that looks at the data: error feedback through the inputs' second moments, then bias correction.

Frantar et al., "GPTQ" (arXiv 2210.17323), for the weights; Nagel et al., "Data-Free Quantization" (arXiv
1906.04721) and Finkelstein et al. (arXiv 1906.03193) for the biases.
"""

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
    backend: Backend, folded: Network, images: np.ndarray, bits: dict[str, Literal[4, 8]], progress
) -> dict[str, Grid]:
    """Returns a grid a layer. Dense and plain convolution layers are rounded with error feedback, others to
    nearest.
    """
    weights = backend.weights(folded)
    able = [name for name in bits if bits[name] == 4 and weights[name][0].size <= MAX_INPUTS]
    moments = {name: 8 * weights[name][0].size ** 2 for name in able}
    grids = {}

    def round_one(name: str, gram: np.ndarray | None) -> None:
        grid = nearest_grid(weights[name], bits[name])
        grids[name] = grid if gram is None else with_feedback(weights[name], grid, gram)
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
    hessian = gram + np.eye(d) * (DAMPING * max(float(np.mean(np.diag(gram))), 1e-12))
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


def _error(weight: np.ndarray, grid: Grid, gram: np.ndarray) -> float:
    difference = (weight - dequantized(grid)).reshape(len(weight), -1)
    return float(np.sum(difference @ gram.astype(np.float32) * difference, dtype=np.float64))


def snapped_to(backend: Backend, folded: Network, grids: dict[str, Grid]) -> Network:
    """Returns the network with its weights on their grids."""
    return backend.with_weights(folded, {name: dequantized(grid) for name, grid in grids.items()})


def with_corrected_biases(backend: Backend, folded: Network, snapped: Network, images: np.ndarray) -> Network:
    """Returns the network on its grids (`snapped`), each bias moved by what rounding shifted its channel's
    mean output.
    """
    wanted, corrected = backend.output_means(folded, images), snapped
    biases = backend.biases(folded)
    # two sweeps: correcting one layer changes the inputs of those behind it
    for _ in range(2):
        means = backend.output_means(corrected, images)
        biases = {name: biases[name] + (wanted[name] - means[name]).astype(np.float32) for name in wanted}
        corrected = backend.with_weights(corrected, {}, biases)
    return corrected
