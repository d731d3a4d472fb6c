"""What each layer of an artifact costs: the prediction, shared out over what its terms count.

Every term of the cost model is a sum over layers, or the root of a product of two such sums. A root is shared
out half by the one and half by the other (its derivative, as its degree is one), so that layers add up to the
whole.
"""

from math import exp

import numpy as np

from estimator import features, memory
from estimator.types import Bound, LayerCost, Profile

CAUSES: tuple[Bound, ...] = ("compute", "memory", "overhead")
TRAFFIC = ("read", "written")
MACS = ("dense", "window", "depthwise", "grouped")
# What each term is shared out by, and what that says of the layer: equal parts where there are several.
SHARED: dict[str, tuple[tuple[tuple[str, ...], Bound], ...]] = {
    "layers": ((("layers",), "overhead"),),
    **{f"{kind}_macs": (((kind,), "compute"),) for kind in MACS},
    "activations": ((TRAFFIC, "memory"),),
    "parameters": ((("parameters",), "memory"),),
    "mixed": ((("dense", "window"), "compute"), (TRAFFIC, "memory")),
    "pool_operations": ((("pool",), "compute"),),
    "add_elements": ((("added",), "memory"),),
    "tile_macs": ((("tiles",), "compute"),),
    "gather_rows": ((("rows",), "memory"),),
    "small": ((MACS, "compute"), (("layers",), "overhead")),
    "mixed_windows": ((("window",), "compute"), (TRAFFIC, "memory")),
    "spilled": ((("weight_bytes",), "memory"),),
}


def split(sums: np.ndarray, terms: dict[str, float]) -> np.ndarray:
    """Shares `terms` (ms each, without the overhead of an inference) out: float64 [layers, len(CAUSES)]."""
    found = np.zeros((len(sums), len(CAUSES)))
    for term, ms in ((term, ms) for term, ms in terms.items() if ms):
        for columns, cause in SHARED[term]:
            counted = sums[:, [features.SUMS.index(name) for name in columns]].sum(axis=1)
            if counted.any():
                share = ms / len(SHARED[term]) * counted / counted.sum()
                found[:, CAUSES.index(cause)] += share
    return found


def costs(
    profile: Profile, terms: dict[str, float], latency_ms: float, half: float, overhead: float
) -> tuple[LayerCost, ...]:
    """Each layer's part of a prediction, in execution order, then what an inference costs whatever it holds.

    Args:
        profile: Of the artifact; one that was made by hand has no layers, and gives none.
        terms: What each term of the cost model adds, ms, without the overhead.
        latency_ms, half: The prediction and its log half-width; layers are taken to be off together.
        overhead: Share of the prediction that is the overhead of an inference.
    """
    if not profile.layers:
        return ()
    parts = split(features.by_layer(profile), terms)
    parts *= latency_ms * (1 - overhead) / max(parts.sum(), 1e-12)
    times, causes = parts.sum(axis=1).tolist(), parts.argmax(axis=1).tolist()
    found = []
    for layer, ms, cause in zip(profile.layers, times, causes, strict=True):
        elements = layer.input_elements + layer.output_elements
        moved = layer.weight_bytes + elements * memory.BITS[layer.activation_precision] // 8
        found.append(_cost(layer.name, layer.op, ms, half, moved, CAUSES[cause] if ms else "nothing"))
    if overhead:
        found.append(_cost("inference", "", latency_ms * overhead, half, 0, "overhead"))
    return tuple(found)


def _cost(name: str, op: str, ms: float, half: float, moved: int, bound: Bound) -> LayerCost:
    return LayerCost(
        name=name,
        op=op,
        ms=ms,
        low_ms=ms * exp(-half),
        high_ms=ms * exp(half),
        bytes_moved=moved,
        bound=bound,
    )
