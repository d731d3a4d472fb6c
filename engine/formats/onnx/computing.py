"""ONNX operators that compute: sums, pooling, activations and normalization, as PyTorch modules."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from engine.formats.onnx.operators import Call, Made, Node, maker

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


@maker("Attention")
def _attention(node: Node) -> Made:
    given, heads = node.given, node.given.get("q_num_heads")
    shape, odd = (
        node.shape(),
        given.get("is_causal") or given.get("softcap") or any(map(node.has, range(3, 6))),
    )
    if odd or node.outputs > 1 or (heads or 1) != (given.get("kv_num_heads") or heads or 1):
        return None
    if len(shape) == 4 and shape[1] != node.shape(1)[1]:
        return None
    return Attended(heads if len(shape) == 3 else None, given.get("scale")), 3


class Attended(nn.Module):
    """Attention in plain operators, which every technique and every later file knows: queries, keys and
    values [n, heads, places, width], or [n, places, heads * width] where `heads` is given.
    """

    def __init__(self, heads: int | None, scale: float | None):
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if self.heads is not None:
            q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        scale = self.scale if self.scale is not None else q.shape[-1] ** -0.5
        found = torch.softmax(q @ k.transpose(-2, -1) * scale, -1) @ v
        return found if self.heads is None else found.transpose(1, 2).flatten(2)


@maker("CumSum")
def _cumulate(node: Node) -> Made:
    reverse, exclusive = (bool(node.given.get(name)) for name in ("reverse", "exclusive"))
    return Call(cumulated, axis=int(node.numbers(1)[0]), reverse=reverse, exclusive=exclusive), 1


def cumulated(x: torch.Tensor, axis: int, reverse: bool, exclusive: bool) -> torch.Tensor:
    """Sums along an axis up to each place, itself left out if `exclusive`, from the end if `reverse`."""
    x = x.flip(axis) if reverse else x
    total = x.cumsum(axis) - x if exclusive else x.cumsum(axis)
    return total.flip(axis) if reverse else total


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


@maker("AffineGrid")
def _affine_grid(node: Node) -> Made:
    return AffineGrid(align_corners=bool(node.given.get("align_corners"))), 2


class AffineGrid(nn.Module):
    """Where each place of a picture is taken from: float32 [n, 2, 3] of affine maps, and the whole numbers
    (n, channels, height, width) → [n, height, width, 2].

    Spelled out, as exporters below opset 20 have no operator for it.
    """

    def __init__(self, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners

    def forward(self, maps: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        height, width = int(size[-2]), int(size[-1])  # of a picture, which is the same in every batch
        same = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
        flat = functional.affine_grid(same, [1, 1, height, width], align_corners=self.align_corners)
        places = functional.pad(flat.reshape(1, height * width, 2), (0, 1), value=1.0)
        return torch.matmul(places, maps.transpose(1, 2)).reshape(-1, height, width, 2)


@maker("GridSample")
def _grid_sample(node: Node) -> Made:
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = node.given.get("mode", "linear")
    if len(node.shape()) != 4:
        return None
    return GridSample(
        mode=names.get(mode, mode),
        padding_mode=node.given.get("padding_mode", "zeros"),
        align_corners=bool(node.given.get("align_corners")),
    ), 2


class GridSample(nn.Module):
    """A picture as a grid says where each of its places is taken from."""

    def __init__(self, **how: Any):
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return functional.grid_sample(x, grid, **self.how)
