"""Which weights stay when the smallest ones go, and how many are gone at a point of the way."""

import numpy as np


def cubic(target: float, progress: float) -> float:
    """Returns the sparsity at `progress` (0..1) of the ramp: fast at first, slow near the target."""
    return target * (1 - (1 - min(progress, 1.0)) ** 3)


def global_masks(weights: dict[str, np.ndarray], sparsity: float) -> dict[str, np.ndarray]:
    """Returns boolean masks that keep the largest weights of all layers together; exactly `sparsity` of them
    go.
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
