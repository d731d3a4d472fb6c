"""The way back from packed 4-bit codes, which only tests go."""

import numpy as np


def unpacked(data: np.ndarray, count: int) -> np.ndarray:
    """Returns the int8 codes of bytes that hold two each, the first in the low half."""
    halves = np.stack([data & 0xF, data >> 4], axis=1).ravel()[:count].astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(np.int8)
