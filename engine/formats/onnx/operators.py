"""ONNX operators as PyTorch modules, where onnx2torch has none, has only those before opset 18, or has one
whose code hangs on the values of tensors.

What has a counterpart in `torch.nn` becomes that, because techniques know its layers. Sizes and axes that the
graph stores are numbers of the module; one that the graph computes is left to onnx2torch.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from onnx import defs
from onnx2torch.node_converters import registry
from onnx2torch.node_converters.cast import TENSOR_TYPE_TO_TORCH_TYPE
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult
from torch import nn
from torch.nn import functional
from torch.onnx import symbolic_helper
from torch.onnx._internal.torchscript_exporter._globals import GLOBALS

from engine.formats.onnx.dense import DOMAIN

LAST = 2**31 - 1  # an end of a slice beyond any axis
Made = tuple[nn.Module, int] | None  # the module, and how many of the node's inputs it reads; None: can't
Maker = Callable[["Node"], Made]
MAKERS: dict[str, Maker] = {}


class Node:
    """One operator of a graph: its attributes, and those of its inputs that the graph stores."""

    def __init__(self, node: OnnxNode, graph: OnnxGraph):
        self.kind, self.given, self.outputs = node.operation_type, node.attributes, len(node.output_values)
        self._names, self._graph = node.input_values, graph

    def stored(self, place: int) -> torch.Tensor:
        """Returns an input's values. Raises KeyError where it is left out or the graph computes it."""
        if not self.has(place):
            raise KeyError(place)
        return self._graph.initializers[self._names[place]].to_torch()

    def has(self, place: int) -> bool:
        """Tells whether an input is given at all."""
        return place < len(self._names) and bool(self._names[place])

    def numbers(self, place: int, name: str = "") -> list:
        """Returns an input's values as a list, empty where it is left out, or those of the attribute that it
        was once. Raises KeyError where the graph computes it.
        """
        if name in self.given:
            return list(self.given[name])
        return self.stored(place).reshape(-1).tolist() if self.has(place) else []

    def shape(self, place: int = 0) -> list[int]:
        """Returns the sizes of an input, 0 where they are open. Raises KeyError where not even its rank is
        known.
        """
        if self._names[place] in self._graph.initializers:
            return list(self.stored(place).shape)
        kind = self._graph.value_info[self._names[place]].type.tensor_type
        if not kind.HasField("shape"):
            raise KeyError(self._names[place])
        return [dim.dim_value for dim in kind.shape.dim]


def maker(*kinds: str) -> Callable[[Maker], Maker]:
    """Registers what makes the modules of these operators."""

    def deco(function: Maker) -> Maker:
        MAKERS.update(dict.fromkeys(kinds, function))
        return function

    return deco


@cache
def register() -> None:
    """Teaches onnx2torch these operators, and that later versions of its own only gained types; once is
    enough.
    """
    symbolic_helper.GLOBALS = GLOBALS  # its modules ask there for the opset when they are exported
    known = registry._CONVERTER_REGISTRY
    latest: dict[str, int] = {}
    for domain, kind, version in known:
        if domain == defs.ONNX_DOMAIN:
            latest[kind] = max(version, latest.get(kind, 0))
    for schema in defs.get_all_schemas_with_history():
        kind, version = schema.name, schema.since_version
        key = registry.OperationDescription(defs.ONNX_DOMAIN, kind, version)
        if schema.domain != defs.ONNX_DOMAIN:
            continue
        own = known.get(key) or (
            version > latest.get(kind, version) and known[(defs.ONNX_DOMAIN, kind, latest[kind])]
        )
        if kind in MAKERS:
            known[key] = _converter(MAKERS[kind], own or None)
        elif own and not _says_more(kind, version, latest[kind]):
            known[key] = own
    for kind in ("Linear", "Gelu", "Swish"):
        known[registry.OperationDescription(DOMAIN, kind, 1)] = _converter(MAKERS[kind], None)


def _says_more(kind: str, version: int, before: int) -> bool:
    """Tells whether a later version of an operator has attributes or inputs that the one before it had
    not.
    """
    later, former = (defs.get_schema(kind, v, defs.ONNX_DOMAIN) for v in (version, before))
    return bool(set(later.attributes) - set(former.attributes)) or len(later.inputs) != len(former.inputs)


def _converter(make: Maker, own: Callable | None) -> Callable:
    def convert(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
        try:
            made = make(Node(node, graph))
        except KeyError:  # an axis, a size or a weight that the graph computes
            made = None
        if made is not None:
            module, count = made
            return OperationConverterResult(
                module, OnnxMapping(node.input_values[:count], node.output_values)
            )
        if own is None:
            raise NotImplementedError(f"{node.operation_type} with these inputs")
        return own(node, graph)

    return convert


class Call(nn.Module):
    """A function of one tensor with fixed arguments."""

    def __init__(self, function: Callable[..., Any], **fixed: Any):
        super().__init__()
        self.function, self.fixed = function, fixed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, **self.fixed)

    def extra_repr(self) -> str:
        return f"{self.function.__name__}, {self.fixed}"


# ---- shapes ------------------------------------------------------------------------------------------------


def reshape(x: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
    """Reshapes as ONNX says it: 0 keeps a size, -1 takes what is left."""
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)])


def sliced(x: torch.Tensor, slices: dict[int, slice], turned: tuple[int, ...]) -> torch.Tensor:
    """Cuts along several axes; those in `turned` run backwards first."""
    x = x.flip(turned) if turned else x
    for axis, cut in slices.items():
        if axis < 0:
            axis += x.dim()
        x = x[(slice(None),) * axis + (cut,)]
    return x


def squeezed(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Leaves axes of size one out."""
    return x.squeeze(axes)


def unsqueezed(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Puts axes of size one in, counted in the result."""
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def permuted(x: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Puts the axes in this order."""
    return x.permute(order)


def padded(x: torch.Tensor, pad: list[int], mode: str, value: float) -> torch.Tensor:
    """Pads as torch counts it: the last axis first."""
    return functional.pad(x, pad, mode, value if mode == "constant" else None)


def split(x: torch.Tensor, sizes: list[int] | int, axis: int) -> tuple[torch.Tensor, ...]:
    """Cuts a tensor into pieces of these sizes, or of one size and a rest."""
    return torch.split(x, sizes, axis)


@maker("Reshape")
def _reshape(node: Node) -> Made:
    sizes = node.numbers(1, "shape")
    if not sizes or (0 in sizes and node.given.get("allowzero")):
        return None
    return Call(reshape, sizes=tuple(sizes)), 1


@maker("Squeeze", "Unsqueeze")
def _squeeze(node: Node) -> Made:
    axes = node.numbers(1, "axes")
    if not axes:
        return None
    return Call(squeezed if node.kind == "Squeeze" else unsqueezed, axes=tuple(axes)), 1


@maker("Transpose")
def _transpose(node: Node) -> Made:
    order = node.given.get("perm") or list(range(len(node.shape())))[::-1]
    return Call(permuted, order=tuple(order)), 1


@maker("Slice")
def _slice(node: Node) -> Made:
    starts, ends = node.numbers(1, "starts"), node.numbers(2, "ends")
    axes, steps = node.numbers(3, "axes") or list(range(len(starts))), node.numbers(4) or [1] * len(starts)
    slices, turned = {}, []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:
            turned.append(axis)
            start, end, step = -start - 1, -end - 1, -step
        slices[axis] = slice(start or None, None if abs(end) >= LAST else end, step)
    return Call(sliced, slices=slices, turned=tuple(turned)), 1


@maker("Gather")
def _gather(node: Node) -> Made:
    axis, places = node.given.get("axis", 0), node.stored(1)
    if places.dim() == 0:
        return Call(torch.select, dim=axis, index=int(places)), 1
    return (Chosen(places.long(), axis), 1) if places.dim() == 1 else None


class Chosen(nn.Module):
    """Takes stored places along an axis."""

    places: torch.Tensor

    def __init__(self, places: torch.Tensor, axis: int):
        super().__init__()
        self.axis = axis
        self.register_buffer("places", places)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.index_select(x, self.axis, self.places % x.shape[self.axis])


@maker("Split")
def _split(node: Node) -> Made:
    axis, sizes = node.given.get("axis", 0), node.numbers(1, "split")
    count = node.given.get("num_outputs", node.outputs)
    return Call(split, sizes=sizes or math.ceil(node.shape()[axis] / count), axis=axis), 1


@maker("Pad")
def _pad(node: Node) -> Made:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    pads, value, axes, rank = (
        node.numbers(1, "pads"),
        node.numbers(2) or [0.0],
        node.numbers(3),
        len(node.shape()),
    )
    value = [node.given["value"]] if "value" in node.given else value
    half, whole = len(pads) // 2, [0] * (2 * rank)
    for place, axis in enumerate(axes or range(half)):
        whole[axis % rank], whole[axis % rank + rank] = pads[place], pads[place + half]
    pad = [number for axis in reversed(range(rank)) for number in (whole[axis], whole[axis + rank])]
    while len(pad) > 2 and pad[-2:] == [0, 0]:
        del pad[-2:]
    return Call(padded, pad=pad, mode=mode[node.given.get("mode", "constant")], value=float(value[0])), 1


@maker("SpaceToDepth")
def _space_to_depth(node: Node) -> Made:
    return Call(space_to_depth, size=node.given["blocksize"]), 1


def space_to_depth(x: torch.Tensor, size: int) -> torch.Tensor:
    """Puts blocks of pixels into channels, the places in a block first."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * size * size, h // size, w // size)


@maker("Cast")
def _cast(node: Node) -> Made:
    return Call(cast, dtype=TENSOR_TYPE_TO_TORCH_TYPE[node.given["to"]]), 1


def cast(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns the same numbers as another type."""
    return x.to(dtype)


@maker("Resize")
def _resize(node: Node) -> Made:
    given, rank = node.given, len(node.shape())
    if rank != 4 or given.get("antialias") or "axes" in given or given.get("exclude_outside"):
        raise NotImplementedError("Resize with these attributes")
    if given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotImplementedError("Resize with these attributes")
    scales, sizes = node.numbers(2), node.numbers(3)
    mode = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}[given.get("mode", "nearest")]
    corners = given.get("coordinate_transformation_mode") == "align_corners"
    fixed = {"size": tuple(sizes[2:])} if sizes else {"scale_factor": tuple(scales[2:])}
    return Call(functional.interpolate, mode=mode, align_corners=corners or None, **fixed), 1


# ---- sums, pooling, activations ----------------------------------------------------------------------------


PLAIN = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin"}


def reduced(x: torch.Tensor, kind: str, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    """Takes the mean, sum, greatest or least, product or norm over axes."""
    if kind == "ReduceProd":
        for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
            x = x.prod(axis, keepdim=keep)
        return x
    if kind in ("ReduceL1", "ReduceL2"):
        return torch.linalg.vector_norm(x, int(kind[-1]), axes, keep)
    if kind == "ReduceSumSquare":
        return x.square().sum(axes, keepdim=keep)
    function: Any = getattr(torch, PLAIN[kind])
    return function(x, axes, keep)


@maker(
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"),
    *("ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"),
)
def _reduce(node: Node) -> Made:
    axes, rank = node.numbers(1, "axes"), len(node.shape())
    if not axes and node.given.get("noop_with_empty_axes"):
        return nn.Identity(), 1
    axes = sorted(axis % rank for axis in axes or range(rank))
    keep = bool(node.given.get("keepdims", 1))
    if node.kind == "ReduceMean" and rank == 4 and axes == [2, 3]:
        pool = nn.AdaptiveAvgPool2d(1)
        return (pool if keep else nn.Sequential(pool, nn.Flatten())), 1
    return Call(reduced, kind=node.kind, axes=tuple(axes), keep=keep), 1


@maker("GlobalAveragePool", "GlobalMaxPool")
def _global(node: Node) -> Made:
    if len(node.shape()) != 4:
        return None
    return (nn.AdaptiveAvgPool2d(1) if node.kind == "GlobalAveragePool" else nn.AdaptiveMaxPool2d(1)), 1


@maker("AveragePool")
def _average_pool(node: Node) -> Made:
    given, kernel = node.given, node.given["kernel_shape"]
    pads, rank = given.get("pads") or [0] * (2 * len(kernel)), len(kernel)
    if any(step != 1 for step in given.get("dilations", [])) or rank > 2:
        return None
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    options: dict[str, Any] = {
        "kernel_size": tuple(kernel),
        "stride": tuple(given.get("strides", [1] * rank)),
        "ceil_mode": bool(given.get("ceil_mode")),
    }
    counted = bool(given.get("count_include_pad"))
    even = pads[:rank] == pads[rank:] and all(
        2 * pad <= side for pad, side in zip(pads, kernel, strict=False)
    )
    if even:
        own = (nn.AvgPool1d, nn.AvgPool2d)[rank - 1]
        return own(padding=tuple(pads[:rank]), count_include_pad=counted, **options), 1
    pad = [number for axis in reversed(range(rank)) for number in (pads[axis], pads[axis + rank])]
    return Call(averaged, pad=pad, counted=counted, options=options), 1


def averaged(x: torch.Tensor, pad: list[int], counted: bool, options: dict) -> torch.Tensor:
    """Averages over windows with other paddings before than behind; what is padded counts only if
    `counted`.
    """
    pool = functional.avg_pool2d if len(pad) == 4 else functional.avg_pool1d
    total = pool(functional.pad(x, pad), **options)
    return total if counted else total / pool(functional.pad(torch.ones_like(x[:1, :1]), pad), **options)


@maker("Clip")
def _clip(node: Node) -> Made:
    low, high = (
        node.given.get(name, float(node.stored(place)) if node.has(place) else None)
        for place, name in ((1, "min"), (2, "max"))
    )
    if low == 0 and (high is None or high == 6):
        return (nn.ReLU() if high is None else nn.ReLU6()), 1
    return Call(torch.clamp, min=low, max=high), 1


@maker("PRelu")
def _prelu(node: Node) -> Made:
    slope = node.stored(1)
    if slope.numel() != 1 and not (slope.dim() == 3 and slope.shape[1:] == (1, 1)):
        return None
    made = nn.PReLU(slope.numel())
    made.weight.data = slope.reshape(-1).float()
    return made, 1


@maker("Gelu")
def _gelu(node: Node) -> Made:
    return nn.GELU(node.given.get("approximate", "none")), 1


@maker("Mish")
def _mish(node: Node) -> Made:
    return nn.Mish(), 1


@maker("Swish")
def _swish(node: Node) -> Made:
    alpha = float(node.given.get("alpha", 1.0))
    return (nn.SiLU() if alpha == 1.0 else Call(swish, alpha=alpha)), 1


def swish(x: torch.Tensor, alpha: float) -> torch.Tensor:
    """Returns x times the sigmoid of alpha times x."""
    return x * torch.sigmoid(alpha * x)


@maker("GroupNormalization")
def _group_norm(node: Node) -> Made:
    groups, channels = node.given["num_groups"], node.shape()[1]
    made = nn.GroupNorm(groups, channels, eps=node.given.get("epsilon", 1e-5))
    for parameter, place in ((made.weight, 1), (made.bias, 2)):  # before opset 21 one number a group
        value = node.stored(place)
        parameter.data = value.repeat_interleave(channels // value.numel())
    return made, 1


@maker("Linear")
def _linear(node: Node) -> Made:
    weight, biased = node.stored(1), node.has(2)
    made = nn.Linear(weight.shape[0], weight.shape[1], bias=biased)
    made.weight.data = weight.T.contiguous()
    if biased:
        made.bias.data = node.stored(2).clone()
    return made, 1
