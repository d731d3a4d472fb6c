"""Peak memory: computed from the graph, its error measured on the published rows.

A runtime holds the file's weights, a packed copy in the precision it computes in (and one more where the file's
precision differs), and the activation arena. TensorRT's process is all but constant: the CUDA context dwarfs the rest.
"""

from typing import Any

import numpy as np

from estimator.plain_graph import BITS

PACKING = ("litert", "onnxruntime", "ncnn", "armnn", "torchscript")
# Arena of a row whose graph is not known, bytes a pixel and byte of precision: the median over the layer table.
ARENA_PER_PIXEL = 48.0


def packed_bytes(weight_bytes: float, parameters: float, stored: str, computed: str) -> float:
    """Bytes that weights take while running: the file's, and the copies that a runtime makes."""
    copies = 1 if stored == computed else 2
    return weight_bytes + copies * parameters * BITS[computed] / 8


def measure(data: Any) -> dict[str, Any]:
    """Returns the error of the rule on published rows, and TensorRT's constant by device.

    `{"rule": {"half_width" (log), "rows"}, "constant_mb": {device: {"mb", "half_width", "rows"}}}`.
    """
    known = data[data.memory_mb.notna() & data.params_m.notna()]
    rows = known[known.runtime.eq("litert") & known["size"].isin(["224", "256"])]
    errors = []
    for row in rows.itertuples():
        computed = "float32" if row.precision == "float16" else row.precision
        parameters = row.params_m * 1e6
        weights = packed_bytes(parameters * BITS[row.precision] / 8, parameters, row.precision, computed)
        arena = ARENA_PER_PIXEL * int(row.size) ** 2 * BITS[computed] / 8
        errors.append(np.log(row.memory_mb * 1e6 / (weights + arena)))
    constant = {}
    for device, part in known[known.runtime.eq("tensorrt")].groupby("device"):
        middle = float(part.memory_mb.median())
        spread = float(np.max(np.abs(np.log(part.memory_mb / middle))))
        if spread < 0.1:  # elsewhere the source mixes two ways of counting
            constant[str(device)] = {"mb": middle, "half_width": max(spread, 0.02), "rows": len(part)}
    return {"rule": {"half_width": float(np.quantile(np.abs(errors), 0.9)) if errors else None,
                     "bias": float(np.median(errors)) if errors else None, "rows": len(errors)},
            "constant_mb": constant}
