"""What the cost model sees of a network: sums over its graph, from a `Profile`, a measured row, or typed by
hand.

All counts are in millions except `overhead` (always 1) and `layers`, so that coefficients read as
milliseconds per million. Normalization, views and simple activations count for nothing: runtimes fuse them
into their neighbours, and the published layer tables leave them out as well.
"""

from collections.abc import Mapping
from math import prod

import numpy as np

from estimator.types import Layer, Profile

NAMES = (
    "overhead",
    "layers",
    "dense_macs",
    "window_macs",
    "depthwise_macs",
    "grouped_macs",
    "activations",
    "parameters",
    "mixed",
    "pool_operations",
    "add_elements",
    "tile_macs",
    "gather_rows",
    "small",
    "mixed_windows",
    "spilled",
    "read_again",
)
TILE = (
    16  # output pixels; single-precision kernels on Arm step through 4 to 16, and 16 fits ONNX Runtime best
)
ON_CHIP_BYTES = 8e6  # coral.ai: about 8 MB of the Edge TPU's memory hold parameters
FUSED = {"activation", "norm", "shape", "quantize", "other"}
# The layer tables count laying tensors side by side as a layer, and ncnn's count the traffic of activations
# that no kernel takes in. What is moved besides is counted as traffic alone.
JOINS = {"Concat", "QLinearConcat", "CONCATENATION"}
MOVES = {
    *(
        "HardSwish",
        "Sigmoid",
        "Gelu",
        "Erf",
        "Mish",
        "Swish",
        "QLinearSigmoid",
        "HARD_SWISH",
        "LOGISTIC",
        "GELU",
    ),
    *("Transpose", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "Pad", "Tile"),
    *("TRANSPOSE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "PAD"),
    *("PADV2", "MIRROR_PAD", "TILE", "PACK"),
}
SUMS = (
    *("layers", "dense", "window", "depthwise", "grouped", "read", "written", "parameters", "weight_bytes"),
    *("pool", "added", "tiles", "rows"),
)


def from_profile(profile: Profile) -> np.ndarray:
    """Returns the features of a graph, float64 [len(NAMES)], in the order of NAMES."""
    sums = dict(zip(SUMS, by_layer(profile).sum(axis=0).tolist(), strict=True))
    read, written = sums.pop("read"), sums.pop("written")
    return combine(activations=read + written, read_again=read - written, **sums)


def by_layer(profile: Profile) -> np.ndarray:
    """What each layer adds to the sums that features are made of, float64 [layers, len(SUMS)], not in
    millions.
    """
    rows = [_sums(layer, profile.format) for layer in profile.layers]
    return np.array(rows, dtype=float).reshape(len(rows), len(SUMS))


def _sums(layer: Layer, file_format: str) -> tuple[float, ...]:
    works = layer.kind not in FUSED or layer.op in JOINS
    read, written = (layer.input_elements, layer.output_elements) if works or layer.op in MOVES else (0, 0)
    held = layer.parameters, layer.weight_bytes
    if not works:
        return 0, 0, 0, 0, 0, read, written, *held, 0, 0, 0, 0
    term, macs = _term(layer), layer.macs
    height, width = _plane(layer, file_format)
    return (
        1,
        *(macs * (term == kind) for kind in ("dense", "window", "depthwise", "grouped")),
        read,
        written,
        *held,
        layer.output_elements * prod(layer.kernel or (1,)) * (layer.kind == "pool"),
        layer.output_elements * (layer.kind == "elementwise"),
        _tile_macs(layer, height, width) if term in ("dense", "window") else 0,
        _gather_rows(layer, height, width) if term == "window" else 0,
    )


def _term(layer: Layer) -> str:
    """Which rate a layer computes at. A 1x1 convolution and a matrix product are the same inner loop."""
    if layer.kind in ("depthwise", "grouped"):
        return layer.kind
    return "window" if prod(layer.kernel or (1,)) > 1 else "dense"


def _plane(layer: Layer, file_format: str) -> tuple[int, int]:
    """Output height and width: the last axes in ONNX, those before the last in TFLite; 1 x 1 for products."""
    shape = layer.output_shape
    if len(shape) < 4 or not layer.kernel:
        return 1, 1
    return (shape[-2], shape[-1]) if file_format == "onnx" else (shape[-3], shape[-2])


def _tile_macs(layer: Layer, height: int, width: int) -> float:
    """MACs with the output pixels rounded up to the TILE that a matrix kernel works in."""
    return layer.macs * -(-height * width // TILE) * TILE / (height * width) if layer.kernel else layer.macs


def _gather_rows(layer: Layer, height: int, width: int) -> float:
    """Rows of pixels that are copied to lay a window's inputs out as a matrix: one a kernel position and
    channel.
    """
    outputs = max(layer.output_elements / (height * width), 1)
    return layer.macs / (outputs * width)


def from_row(row: Mapping[str, float]) -> np.ndarray:
    """Returns the features of a row of `model_features.csv`, float64 [len(NAMES)]; its sums name no pools or
    planes.
    """
    return combine(
        layers=sum(row[key] for key in ("n_conv", "n_dw", "n_fc", "n_elt", "n_pool")),
        dense=row["macs_conv1x1"] + row["macs_fc"] + row["macs_attn"],
        window=row["macs_conv3x3"] + row["macs_convk"],
        depthwise=row["macs_dw"],
        grouped=row["macs_group"],
        activations=row["act_elems"] + row["in_elems"],
        parameters=row["params"],
        read_again=row["in_elems"] - row["act_elems"],
    )


def by_hand(macs: float, parameters: float) -> np.ndarray:
    """Returns features for a what-if of which only MACs and parameters are known.

    The rest is filled in as the networks of the layer table have it at that size: 71 * MACs**0.59
    activations, 64 layers, fewer below 100 million MACs; and 60 % of the MACs in windows, as in a plain
    convolutional network.
    """
    return combine(
        layers=max(64 * min(1.0, (macs / 1e8) ** 0.37), 2),
        dense=0.4 * macs,
        window=0.6 * macs,
        depthwise=0,
        grouped=0,
        activations=71 * max(macs, 1) ** 0.59,
        parameters=parameters,
    )


def combine(
    layers: float,
    dense: float,
    window: float,
    depthwise: float,
    grouped: float,
    activations: float,
    parameters: float,
    pool: float = 0,
    added: float = 0,
    tiles: float = 0,
    rows: float = 0,
    weight_bytes: float | None = None,
    read_again: float = 0,
) -> np.ndarray:
    """Puts raw sums (not in millions) in the order of NAMES.

    `mixed` is the geometric mean of arithmetic and traffic: layers whose work lies between the two roofs run
    at
    neither rate, and this smooth bridge (of degree one, so that it extrapolates) stands for them;
    `mixed_windows` is the
    same of windows alone, whose inputs are laid out anew or transformed (im2col, Winograd). `small` is the
    bridge between
    arithmetic and the cost of a layer: layers times the root of a layer's MACs, for layers too small to reach
    the full
    rate. `spilled` is what the weights exceed the Edge TPU's on-chip memory by, one byte a weight unless
    `weight_bytes`
    is known. `read_again` is what layers read beyond what was written, each written once: branches that are
    added, scaled
    or laid side by side.
    """
    million, macs = 1e-6, dense + window + depthwise + grouped
    spilled = max((parameters if weight_bytes is None else weight_bytes) - ON_CHIP_BYTES, 0)
    return np.array(
        [
            1.0,
            layers,
            *(million * n for n in (dense, window, depthwise, grouped, activations, parameters)),
            million * np.sqrt((dense + window) * activations),
            *(million * n for n in (pool, added, tiles, rows)),
            np.sqrt(million * macs * layers),
            million * np.sqrt(window * activations),
            million * spilled,
            million * max(read_again, 0),
        ]
    )


LIMIT = 0.2  # log; a learned correction never moves a prediction further


def shares(parts: np.ndarray) -> np.ndarray:
    """What a correction is learned on, from terms of time [..., terms]: each term's share and their products.
    They lie in 0..1 for a network of any size, so nothing is extrapolated."""
    share = parts / parts.sum(axis=-1, keepdims=True)
    upper = np.triu_indices(share.shape[-1])
    products = share[..., :, None] * share[..., None, :]
    return np.concatenate([share, products[..., upper[0], upper[1]]], axis=-1)


def learned(parts: np.ndarray, correction: np.ndarray) -> np.ndarray:
    """Log of the learned correction's factor, from terms of time [..., terms]."""
    found: np.ndarray = np.clip(shares(parts) @ correction, -LIMIT, LIMIT)
    return found
