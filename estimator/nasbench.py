"""NAS-Bench-201 networks as features: 15 cells of one topology on 16, 32 and 64 channels, reductions in between.

The skeleton (arXiv 2001.00326) is a 3x3 stem, three stages of five cells, a residual block with stride 2 before the
second and third stage, pooling and one dense layer. The operator counts of a cell come with the measured rows; what
depends on the plane of each stage (tiles and gathered rows) is worked out here. Operators that no path from input to
output uses are left out, as runtimes do.
"""

from typing import Any

import numpy as np

from estimator import features

CELLS = 5
CHANNELS = (16, 32, 64)


def features_of(rows: Any) -> np.ndarray:
    """Returns features, float64 [rows, len(NAMES)], of a data frame with the columns of `nasbench201_pi5.csv.gz`."""
    column = {name: rows[name].to_numpy(float) for name in (
        "macs1x1_eff", "macs3x3_eff", "act_elems_eff", "params_eff", "kernels_eff", "pool_ops_eff", "add_elems_eff",
        "n_nor_conv_3x3_eff", "n_nor_conv_1x1_eff", "in_h", "in_w", "in_ch")}
    tiles, gathered = _planes(column)
    table = np.zeros((len(rows), len(features.NAMES)))
    macs = column["macs1x1_eff"] + column["macs3x3_eff"]
    filled = {"layers": column["kernels_eff"] * 1e6, "dense_macs": column["macs1x1_eff"],
              "window_macs": column["macs3x3_eff"], "activations": column["act_elems_eff"],
              "parameters": column["params_eff"], "mixed": np.sqrt(macs * column["act_elems_eff"]),
              "pool_operations": column["pool_ops_eff"], "add_elements": column["add_elems_eff"],
              "tile_macs": tiles, "gather_rows": gathered, "overhead": np.full(len(rows), 1e6)}
    for name, values in filled.items():
        table[:, features.NAMES.index(name)] = values / 1e6
    return table


def _planes(column: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """MACs on planes rounded up to whole tiles, and rows gathered for windows, both summed over the stages."""
    def whole(pixels: np.ndarray) -> np.ndarray:
        return np.ceil(pixels / features.TILE) * features.TILE

    height, width = column["in_h"], column["in_w"]
    tiles = 9 * column["in_ch"] * CHANNELS[0] * whole(height * width)
    gathered = 9 * column["in_ch"] * height
    for stage, channels in enumerate(CHANNELS):
        if stage:
            before = CHANNELS[stage - 1]
            height, width = np.ceil(height / 2), np.ceil(width / 2)
            tiles = tiles + channels * (10 * before + 9 * channels) * whole(height * width)
            gathered = gathered + 9 * (before + channels) * height
        threes, ones = column["n_nor_conv_3x3_eff"], column["n_nor_conv_1x1_eff"]
        tiles = tiles + CELLS * (9 * threes + ones) * channels**2 * whole(height * width)
        gathered = gathered + CELLS * threes * 9 * channels * height
    return tiles, gathered
