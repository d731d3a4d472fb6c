"""ONNX operators that change the shape or the type of a tensor, as PyTorch modules."""

import math

import torch
from onnx2torch.node_converters.cast import TENSOR_TYPE_TO_TORCH_TYPE
from torch import nn
from torch.nn import functional

from engine.formats.onnx.operators import LAST, Call, Made, Node, maker


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
