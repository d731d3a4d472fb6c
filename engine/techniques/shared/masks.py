"""Which weights stay when the smallest ones go, and how many are gone at a point of the way."""

import numpy as np


def cubic(target: float, progress: float) -> float:
    """Returns the sparsity at `progress` (0..1) of the ramp: fast at first, slow near the target."""
    return target * (1 - (1 - min(progress, 1.0)) ** 3)


def scores(weights: dict[str, np.ndarray], energies: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what each weight counts, comparable over all layers, so that no layer starves: its part in the
    squared output of its layer, as a share of the parts of all that count as much or more (Lee et al.,
    "LAMP", arXiv 2010.07611, of weights times inputs as in Sun et al., "Wanda", arXiv 2306.11695).

    energies: by layer, the mean square of each input, [d] in the order of a row of its weights; in a layer
        without, weights count by themselves.
    """
    found = {}
    for name, w in weights.items():
        parts = np.square(w.reshape(len(w), -1), dtype=np.float64) * energies.get(name, 1.0)
        order = parts.argsort(axis=None)
        smallest_first = parts.ravel()[order]
        as_much_or_more = smallest_first[::-1].cumsum()[::-1]
        found[name] = np.empty(w.shape)
        found[name].ravel()[order] = smallest_first / np.maximum(as_much_or_more, np.finfo(float).tiny)
    return found


def global_masks(weights: dict[str, np.ndarray], sparsity: float) -> dict[str, np.ndarray]:
    """Returns boolean masks that keep the largest weights (or scores) of all layers together; exactly
    `sparsity` of them go.
    """
    sizes = [w.size for w in weights.values()]
    flat = np.empty(sum(sizes), np.result_type(*weights.values()))
    for part, w in zip(np.split(flat, np.cumsum(sizes)[:-1]), weights.values(), strict=True):
        np.abs(w.ravel(), out=part)
    gone = round(sparsity * flat.size)
    least = np.partition(flat, gone)[gone] if gone < flat.size else np.inf  # of those that stay
    keep = flat >= least
    keep[np.flatnonzero(flat == least)[: gone - (flat.size - np.count_nonzero(keep))]] = False
    masks, start = {}, 0
    for name, w in weights.items():
        masks[name] = keep[start : start + w.size].reshape(w.shape)
        start += w.size
    return masks
