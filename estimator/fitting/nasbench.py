"""NAS-Bench-201 networks as features: 15 cells of one topology on 16, 32 and 64 channels, reductions in
between.

The skeleton (arXiv 2001.00326) is a 3x3 stem, three stages of five cells, a residual block with stride 2
before the
second and third stage, pooling and one dense layer. A cell's operators are counted as its runtime executes
them, which
is not what its string says: see `executed`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from estimator import features

CELLS = 5
CHANNELS = (16, 32, 64)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
FOLDING = ("litert",)  # runtimes whose converter drops what is multiplied by zero


def executed(cell: str, folded: bool) -> tuple[int, int, int, int]:
    """Counts 3x3 and 1x1 convolutions, poolings, and sums or products of whole activations that a cell really
    runs.

    The operator `none` is a product with zero: what feeds only such products is dropped where the converter
    folds them and computed all the same where it does not. Poolings of one tensor have no weights that would
    tell them apart, so every runtime computes them once.
    """
    operators = [step.split("~")[0] for node in cell.split("+") for step in node.strip("|").split("|")]
    needed = {3}
    for (source, target), operator in reversed(list(zip(EDGES, operators, strict=True))):
        if target in needed and (operator != "none" or not folded):
            needed.add(source)
    same: dict[int, Any] = {0: 0}  # what a node holds, equal for nodes that hold the same
    pooled: set[Any] = set()
    threes = ones = sums = 0
    for node in (1, 2, 3):
        into = (
            [
                (source, operator)
                for (source, target), operator in zip(EDGES, operators, strict=True)
                if target == node and not (folded and operator == "none")
            ]
            if node in needed
            else []
        )
        names = [operator for _, operator in into]
        threes += names.count("nor_conv_3x3")
        ones += names.count("nor_conv_1x1")
        sums += max(len(into) - 1, 0) + names.count("none")
        pooled |= {same[source] for source, operator in into if operator == "avg_pool_3x3"}
        alone = into[0] if len(into) == 1 else (0, "")
        same[node] = {"skip_connect": same[alone[0]], "avg_pool_3x3": ("pooled", same[alone[0]])}.get(
            alone[1], node
        )
    return threes, ones, len(pooled), sums


def features_of(rows: Any) -> np.ndarray:
    """Returns features, float64 [rows, len(NAMES)], of a data frame with the columns of
    `nasbench201_pi5.csv.gz` and `runtime` as this project names it."""
    counts = {
        (cell, folded): executed(cell, folded) for folded in (False, True) for cell in rows.arch_str.unique()
    }
    run = np.array(
        [counts[cell, runtime in FOLDING] for cell, runtime in zip(rows.arch_str, rows.runtime, strict=True)],
        dtype=float,
    ).T
    column = {name: rows[name].to_numpy(float) for name in ("in_h", "in_w", "in_ch", "classes", "params_all")}
    sums = _network(column, *run)
    table = np.zeros((len(rows), len(features.NAMES)))
    filled = {
        **sums,
        "parameters": column["params_all"],
        "overhead": np.full(len(rows), 1e6),
        "layers": sums["layers"] * 1e6,
        "mixed": np.sqrt((sums["dense_macs"] + sums["window_macs"]) * sums["activations"]),
        "read_again": sums["add_elements"],
    }
    for name, values in filled.items():
        table[:, features.NAMES.index(name)] = values / 1e6
    return table


def _network(
    column: Mapping[str, np.ndarray],
    threes: np.ndarray,
    ones: np.ndarray,
    pools: np.ndarray,
    added: np.ndarray,
) -> dict[str, np.ndarray]:
    """Sums over the whole network, in single MACs and elements; the arguments count a cell's operators."""

    def whole(pixels: np.ndarray) -> np.ndarray:
        return np.ceil(pixels / features.TILE) * features.TILE

    height, width, colours = column["in_h"], column["in_w"], column["in_ch"]
    pixels = height * width
    total = {
        "layers": 13 + len(CHANNELS) * CELLS * (threes + ones + pools + added),  # 13: stem, reductions, head
        "dense_macs": CHANNELS[-1] * column["classes"],
        "window_macs": 9 * colours * CHANNELS[0] * pixels,
        "tile_macs": 9 * colours * CHANNELS[0] * whole(pixels),
        "gather_rows": 9 * colours * height,
        "activations": (colours + CHANNELS[0]) * pixels,
        "pool_operations": 0.0,
        "add_elements": 0.0,
    }
    for stage, channels in enumerate(CHANNELS):
        if stage:
            before, larger = CHANNELS[stage - 1], pixels
            height, width = np.ceil(height / 2), np.ceil(width / 2)
            pixels = height * width
            total["dense_macs"] = total["dense_macs"] + before * channels * pixels
            total["window_macs"] = total["window_macs"] + 9 * channels * (before + channels) * pixels
            total["tile_macs"] = total["tile_macs"] + channels * (10 * before + 9 * channels) * whole(pixels)
            total["gather_rows"] = total["gather_rows"] + 9 * (before + channels) * height
            total["activations"] = (
                total["activations"] + 2 * before * larger + (2 * before + 7 * channels) * pixels
            )
            total["pool_operations"] = total["pool_operations"] + 4 * before * pixels
            total["add_elements"] = total["add_elements"] + channels * pixels
        elements = CELLS * channels * pixels
        total["dense_macs"] = total["dense_macs"] + ones * channels * elements
        total["window_macs"] = total["window_macs"] + 9 * threes * channels * elements
        total["tile_macs"] = total["tile_macs"] + CELLS * (9 * threes + ones) * channels**2 * whole(pixels)
        total["gather_rows"] = total["gather_rows"] + CELLS * threes * 9 * channels * height
        total["activations"] = total["activations"] + (2 * (threes + ones + pools) + 3 * added) * elements
        total["pool_operations"] = total["pool_operations"] + 9 * pools * elements
        total["add_elements"] = total["add_elements"] + added * elements
    total["pool_operations"] = total["pool_operations"] + CHANNELS[-1] * pixels
    total["activations"] = total["activations"] + CHANNELS[-1] * pixels
    return total
