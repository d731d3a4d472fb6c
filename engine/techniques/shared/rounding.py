"""Rounding that looks at the data: error feedback through the inputs' second moments, bias correction, and
layer by layer from what the layers before have become.

Frantar et al., "GPTQ" (arXiv 2210.17323), for the weights; Nagel et al., "Data-Free Quantization" (arXiv
1906.04721) and Finkelstein et al. (arXiv 1906.03193) for the biases; Li et al., "GPTAQ" (arXiv 2504.02692),
for layers that make up for those before them.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from engine.backends.backend import Backend
from engine.backends.grid import Grid, dequantized, nearest_grid
from engine.backends.protocol import Network
from engine.memory import together
from engine.techniques.shared.reconstruct import GRAM_BYTES, MAX_INPUTS

DAMPING = 0.01  # share of the mean diagonal that is added to it, as in the GPTQ paper
HELD = 0.5  # share of the mean diagonal that holds solved weights at the original ones
BLOCK = 128


def rounded(
    backend: Backend, folded: Network, images: np.ndarray, layers: Sequence[str], progress
) -> dict[str, Grid]:
    """Returns a 4-bit grid a layer. Dense and plain convolution layers are rounded with error feedback,
    others to nearest.
    """
    weights = backend.weights(folded)
    able = [name for name in layers if weights[name][0].size <= MAX_INPUTS]
    moments = {name: 8 * weights[name][0].size ** 2 for name in able}
    grids = {}

    def round_one(name: str, gram: np.ndarray | None) -> None:
        if gram is None:
            grids[name] = nearest_grid(weights[name], 4)
        else:
            grids[name] = _fitted(weights[name], gram)
        progress(len(grids) / len(layers))

    for names in together(moments, GRAM_BYTES):
        grams = backend.input_grams(folded, images, names)
        for name in names:
            round_one(name, grams.pop(name, None))
    for name in layers:
        if name not in grids:
            round_one(name, None)
    return {name: grids[name] for name in layers}


def _fitted(weight: np.ndarray, gram: np.ndarray) -> Grid:
    """Returns the 4-bit grid whose outputs are closest, for inputs of these second moments."""
    counts = (np.diag(gram) + _damping(gram)).astype(np.float32)
    return with_feedback(weight, nearest_grid(weight, 4, counts), gram)


def with_feedback(weight: np.ndarray, start: Grid, gram: np.ndarray) -> Grid:
    """Rounds column after column and spreads each column's error over those that are still free, so that the
    layer's outputs, not its weights, stay close. gram: float64 [d, d], the inputs' mean x xᵀ."""
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


def one_by_one(
    backend: Backend,
    folded: Network,
    grids: dict[str, Grid],
    images: np.ndarray,
    progress: Callable[[float], None],
) -> tuple[dict[str, Grid], dict[str, np.ndarray]]:
    """Rounds the 4-bit layers once more, in the order of `grids`, which is the one they run in, and returns
    the grids of all and the biases that moved.

    A layer's weights are solved for the outputs that it has in the original network from the inputs that it
    gets in the rounded one, so that it makes up for what the layers before it lost; then they are rounded.
    """
    weights, biases = backend.weights(folded), backend.biases(folded)
    made, moved = dict(grids), {}
    solvable = backend.input_means(folded, images[:1])
    todo = [name for name, grid in grids.items() if name in solvable and grid.bits == 4]
    others = {name: dequantized(grid) for name, grid in grids.items() if name not in todo}
    rounded = backend.with_weights(folded, others)
    for number, name in enumerate(todo):
        progress(number / len(todo))
        flat = weights[name].reshape(len(weights[name]), -1)
        if 2 * 8 * flat.shape[1] ** 2 > GRAM_BYTES:  # two moments would be held at once
            found, bias = dequantized(grids[name]), biases[name]
        else:
            pairs = zip(
                backend.input_rows(folded, images, name),
                backend.input_rows(rounded, images, name),
                strict=True,
            )
            wanted, given, cross, gram = _moments(pairs)
            kernel = gram + np.eye(len(gram)) * (HELD / DAMPING * _damping(gram))
            solved = flat + np.linalg.solve(kernel, (flat @ (cross - gram)).T).T
            made[name] = _fitted(solved.reshape(weights[name].shape).astype(np.float32), gram)
            found = dequantized(made[name])
            shift = flat @ wanted - found.reshape(flat.shape) @ given
            bias = moved[name] = biases[name] + shift.astype(np.float32)
        rounded = backend.with_weights(rounded, {name: found}, {name: bias})
    return made, moved


def _moments(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Returns, of pairs (x, y) of rows, the means of x and of y [d], of x yᵀ and of y yᵀ [d, d], float64."""
    sums: list[np.ndarray] = []
    count = 0
    for x, y in pairs:
        part = (x.sum(axis=0), y.sum(axis=0), x.T @ y, y.T @ y)
        sums = [a + b for a, b in zip(sums or (0.0,) * 4, part, strict=True)]
        count += len(x)
    return tuple(np.asarray(a, np.float64) / count for a in sums)
