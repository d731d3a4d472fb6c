"""Peak memory: computed from the graph, its error measured on the published rows.

A runtime holds the file's weights, a packed copy in the precision it computes in (and one more where the
file's precision differs), and the activation arena. The published rows are of a C++ program, without the base
below. TensorRT's process is all but constant: the CUDA context dwarfs the rest.
"""

from typing import Any

import numpy as np

from estimator.profile.plain_graph import BITS

# Python, NumPy and the runtime, loaded and idle, MB of resident memory; measured on x86-64 Linux by
# benchmarks/estimator_memory.py. Runtimes that are not listed get no figure.
BASE_MB = {"litert": 35.0, "onnxruntime": 45.7}
# Of all that a network's layers write, the share that the largest one holds at once (input and output): the
# median over
# the layer table, for a what-if of which no graph is known.
LARGEST_PAIR = 0.44


def packed_bytes(weight_bytes: float, parameters: float, stored: str, computed: str) -> float:
    """Bytes that weights take while running: the file's, and the copies that a runtime makes."""
    copies = 1 if stored == computed else 2
    return weight_bytes + copies * parameters * BITS[computed] / 8


def measure(data: Any, largest: dict[str, float]) -> dict[str, Any]:
    """Returns the error of the rule on published rows, and TensorRT's constant by device.

    `largest` holds the elements of each known network's largest activation. Gives
    `{"rule": {"half_width" (log), "median_error" (log), "rows"},
    "constant_mb": {device: {"mb", "half_width", "rows"}}}`.
    """
    known = data[data.memory_mb.notna() & data.params_m.notna()]
    rows = known[known.runtime.eq("litert") & known.feat_key.isin(list(largest))]
    errors = []
    for row in rows.itertuples():
        computed = "float32" if row.precision == "float16" else row.precision
        parameters = row.params_m * 1e6
        weights = packed_bytes(parameters * BITS[row.precision] / 8, parameters, row.precision, computed)
        # The tables give the largest tensor only; a layer holds at least its input and its output.
        arena = 2 * largest[row.feat_key] * BITS[computed] / 8
        errors.append(abs(np.log(row.memory_mb * 1e6 / (weights + arena))))
    constant = {}
    for device, part in known[known.runtime.eq("tensorrt")].groupby("device"):
        middle = float(part.memory_mb.median())
        spread = float(np.max(np.abs(np.log(part.memory_mb / middle))))
        if spread < 0.1:  # elsewhere the source mixes two ways of counting
            constant[str(device)] = {"mb": middle, "half_width": max(spread, 0.02), "rows": len(part)}
    return {
        "rule": {"half_width": max(errors), "median_error": float(np.median(errors)), "rows": len(errors)},
        "constant_mb": constant,
    }
