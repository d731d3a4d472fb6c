"""The numbers that a layer's weights may take in a file, and rounding to them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

# of a layer's weights in rounding, which makes six copies of them: some layers have 100 million
VALUES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Grid:
    """The exact numbers a layer's weights may take: `codes * scales`, per output channel, signed, zero at 0.

    codes: int8 array shaped as the weights, within -2**(bits-1) … 2**(bits-1)-1. scales: float32 [out].
    """

    bits: Literal[4, 8]
    codes: np.ndarray
    scales: np.ndarray


def nearest_grid(weight: np.ndarray, bits: Literal[4, 8], counts: np.ndarray | None = None) -> Grid:
    """Rounds a weight [out, …] to the nearest codes, each channel's scale chosen for the least square
    error. counts: how much each column's error counts, [d] as in `weight.reshape(out, d)`; all alike if None.
    """
    flat = weight.reshape(len(weight), -1)
    channels = max(1, VALUES_AT_ONCE // flat.shape[1])
    parts = [_nearest(flat[i : i + channels], bits, counts) for i in range(0, len(flat), channels)]
    codes, scales = (np.concatenate(found) for found in zip(*parts, strict=True))
    return Grid(bits, codes.reshape(weight.shape), scales)


def _nearest(flat: np.ndarray, bits: int, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the codes [channels, values], int8, and the scales [channels], float32, of some channels."""
    high = 2 ** (bits - 1) - 1
    best = best_scales(flat, high, bits == 4, counts)
    codes = np.clip(np.rint(flat / best[:, None]), -high - 1, high).astype(np.int8)
    return codes, best.astype(np.float32)


def best_scales(weight: np.ndarray, high: int, search: bool, counts: np.ndarray | None = None) -> np.ndarray:
    """Returns a scale a channel [out] for codes up to `high`: the weight's full range or, with `search`, the
    share of it with the least square error. counts: as in `nearest_grid`.
    """
    flat = weight.reshape(len(weight), -1)
    full = np.maximum(np.abs(flat).max(axis=1), 1e-8) / high
    if not search:
        return full
    best, least = full.copy(), np.full(len(flat), np.inf)
    for share in np.linspace(0.5, 1.0, 26).tolist():  # a NumPy number would make all of it float64
        scale = (full * share)[:, None]
        error = (np.clip(np.rint(flat / scale), -high - 1, high) * scale - flat) ** 2
        now = error.sum(axis=1) if counts is None else error @ counts
        best, least = np.where(now < least, scale[:, 0], best), np.minimum(now, least)
    return best


def dequantized(grid: Grid) -> np.ndarray:
    """Returns the float32 weights that a grid stands for."""
    return grid.codes.astype(np.float32) * grid.scales.reshape((-1,) + (1,) * (grid.codes.ndim - 1))


def packed(codes: np.ndarray) -> np.ndarray:
    """Packs 4-bit codes two to a byte, the first in the low half."""
    flat = codes.astype(np.int8).ravel()
    flat = np.append(flat, np.zeros(len(flat) % 2, np.int8)).astype(np.uint8) & 0xF
    return flat[0::2] | flat[1::2] << 4
