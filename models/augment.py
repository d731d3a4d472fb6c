"""More variety in the images that a network is fine-tuned on; the same for every framework."""

import numpy as np

MAX_SHIFT = 2


def augment(images: np.ndarray, random: np.random.Generator, flips: bool) -> np.ndarray:
    """Shifts a batch of uint8 images [n, h, w, c] by up to 2 pixels each way (edges repeated) and, for colour
    photographs, mirrors half of it."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (MAX_SHIFT,) * 2, (MAX_SHIFT,) * 2, (0, 0)), mode="edge")
    down = np.asarray(random.integers(0, 2 * MAX_SHIFT + 1, n))
    right = np.asarray(random.integers(0, 2 * MAX_SHIFT + 1, n))
    rows, columns = down[:, None] + np.arange(height), right[:, None] + np.arange(width)
    if flips:
        mirrored = np.asarray(random.random(n) < 0.5)
        columns = np.where(mirrored[:, None], columns[:, ::-1], columns)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
