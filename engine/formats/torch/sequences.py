"""Networks without branches, found from bare weights: convolutions, then dense layers (LeNet-5, the MNIST
examples).

Names and shapes give the layers; they don't give padding, stride, pooling and activation. All combinations
that lead from an image to the first dense layer's inputs are candidates; labelled images decide between them.
"""

import itertools
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.torch.rows import sides_of

Weights = Mapping[str, np.ndarray]
ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "elu": nn.ELU,
    "gelu": nn.GELU,
}
SIZES = (28, 32, 64, 96, 128, 224)
SKIPS = ("2a", "2", "1a", "1", "3", "3a")
MAX_CANDIDATES = 40
VGG = {
    8: (1, 1, 2, 2, 2),
    10: (2, 2, 2, 2, 2),
    13: (2, 2, 3, 3, 3),
    16: (2, 2, 4, 4, 4),
}  # convolutions a block, by their sum
SUFFIXES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@dataclass(frozen=True)
class Conv:
    """What the weights don't tell of one convolution."""

    padding: int
    stride: int
    pool: int  # 1: none

    def text(self) -> str:
        return f"p{self.padding}s{self.stride}m{self.pool}"


@dataclass(frozen=True)
class Chain:
    """A chain as one line of text: `chain:28:p0s1m2,p0s1m2:max:relu:flat`. `size` is the image's side in
    pixels.
    """

    size: int
    convs: tuple[Conv, ...]
    pooling: str = "max"
    activation: str = "relu"
    end: str = "flat"  # or "mean", "peak": global average or max pooling; "pixels": flat, channels last
    skip: str = ""  # shortcuts over so many convolutions; with "a", added behind the activation

    def text(self) -> str:
        """Returns the architecture's name, from which `parse` makes the same chain."""
        convs = ",".join(c.text() for c in self.convs)
        skip = f":skip{self.skip}" if self.skip else ""
        return f"chain:{self.size}:{convs}:{self.pooling}:{self.activation}:{self.end}{skip}"

    @staticmethod
    def parse(text: str) -> "Chain":
        """Reads what `text` wrote. Raises BadInput for anything else."""
        found = re.fullmatch(
            r"chain:(\d{1,4}):((?:p\d{1,2}s\dm\d,?)*):(max|avg):(\w+):(flat|mean|peak|pixels)(?::skip([123]a?))?",
            text,
        )
        if not found or found[4] not in ACTIVATIONS:
            raise BadInput(
                f"'{text[:60]}' names no chain of layers: use, for example,"
                " chain:28:p0s1m2,p0s1m2:max:relu:flat."
            )
        convs = tuple(Conv(*map(int, item)) for item in re.findall(r"p(\d+)s(\d)m(\d)", found[2]))
        return Chain(int(found[1]), convs, found[3], found[4], found[5], found[6] or "")

    def ends(self, weights: Weights) -> tuple[int, int]:
        """Returns the image's channels and the number of classes."""
        layers = _layers(weights)
        first, last = layers[0], next(layer for layer in reversed(layers) if layer.kind != "norm")
        if first.kind == "conv":
            return first.weight.shape[1], last.weight.shape[0]
        return first.weight.shape[1] // self.size**2, last.weight.shape[0]

    def build(self, weights: Weights) -> nn.Sequential:
        """Returns the network, filled and in eval mode. Raises BadInput when the weights are no such
        chain.
        """
        layers = _layers(weights)
        if sum(layer.kind == "conv" for layer in layers) != len(self.convs):
            raise BadInput(f"The weights don't fit {self.text()}: they have another number of convolutions.")
        modules, convs, dense = OrderedDict(), iter(self.convs), 0
        pending: list[tuple[str, nn.Module]] = []  # activation and pooling, which follow the normalisation
        channels = layers[0].weight.shape[1]
        for place, layer in enumerate(layers):
            if layer.kind == "norm":
                modules[f"norm{place}"] = layer.norm(after_conv=dense == 0)
                continue
            modules.update(pending)
            pending = [(f"act{place}", ACTIVATIONS[self.activation]())]
            if layer.kind == "conv":
                conv = next(convs)
                modules[f"conv{place}"] = layer.conv(conv, channels)
                channels = layer.weight.shape[0]
                if conv.pool > 1:
                    pool = nn.MaxPool2d if self.pooling == "max" else nn.AvgPool2d
                    pending.append((f"pool{place}", pool(conv.pool)))
            else:
                if dense == 0:
                    modules.update(self._turn())
                dense += 1
                modules[f"dense{place}"] = layer.dense()
        if dense == 0:
            modules.update(self._turn())
        for first, last in self.blocks(layers):
            modules = _with_shortcut(modules, f"conv{first}", f"act{last}", self.skip.endswith("a"))
        return nn.Sequential(modules).float().eval().requires_grad_(False)

    def _turn(self) -> list[tuple[str, nn.Module]]:
        pool = {"mean": nn.AdaptiveAvgPool2d, "peak": nn.AdaptiveMaxPool2d}.get(self.end)
        if self.end == "pixels":
            return [("pixels", ChannelsLast()), ("flatten", nn.Flatten())]
        return [*([(self.end, pool(1))] if pool else []), ("flatten", nn.Flatten())]

    def blocks(self, layers: "list[_Layer]") -> list[tuple[int, int]]:
        """Returns the places of the first and last convolution under each shortcut: those that keep the
        image's size and channels.
        """
        count, found, at = int(self.skip[:1] or 0), [], 0
        convs = [(place, layer.weight) for place, layer in enumerate(layers) if layer.kind == "conv"]
        while count and at + count <= len(convs):
            inside = list(zip(convs[at : at + count], self.convs[at : at + count], strict=True))
            keeps = all(
                conv.stride == 1 and 2 * conv.padding == weight.shape[2] - 1 for (_, weight), conv in inside
            )
            unpooled = all(conv.pool == 1 for _, conv in inside[:-1])
            same = inside[0][0][1].shape[1] == inside[-1][0][1].shape[0] and at > 0
            if keeps and unpooled and same and layers[-1].kind != "conv":
                found.append((inside[0][0][0], inside[-1][0][0]))
                at += count
            else:
                at += 1
        return found


class ChannelsLast(nn.Module):
    """Puts a pixel's channels together, as a picture is stored."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


class Shortcut(nn.Module):
    """Adds what went in to what comes out."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + x


def _with_shortcut(
    modules: "OrderedDict[str, nn.Module]", first: str, last: str, behind_activation: bool
) -> "OrderedDict[str, nn.Module]":
    """Puts the modules from `first` up to the activation `last` under a shortcut."""
    names = list(modules)
    start, stop = names.index(first), names.index(last) + behind_activation
    body = nn.Sequential(OrderedDict((name, modules[name]) for name in names[start:stop]))
    made: OrderedDict[str, nn.Module] = OrderedDict((name, modules[name]) for name in names[:start])
    made[f"shortcut_{first}"] = Shortcut(body)
    made.update((name, modules[name]) for name in names[stop:])
    return made


@dataclass(frozen=True)
class _Layer:
    kind: str  # conv, norm or dense
    weight: np.ndarray
    tensors: Mapping[str, np.ndarray]

    def _fill(self, module: nn.Module) -> nn.Module:
        module.load_state_dict(
            {name: torch.from_numpy(value) for name, value in self.tensors.items()}, strict=False
        )
        return module

    def conv(self, conv: Conv, channels: int) -> nn.Module:
        out, per_group, *kernel = self.weight.shape
        return self._fill(
            nn.Conv2d(
                channels,
                out,
                tuple(kernel),
                conv.stride,
                conv.padding,
                groups=channels // per_group,
                bias="bias" in self.tensors,
            )
        )

    def dense(self) -> nn.Module:
        return self._fill(nn.Linear(self.weight.shape[1], self.weight.shape[0], bias="bias" in self.tensors))

    def norm(self, after_conv: bool) -> nn.Module:
        return self._fill(
            (nn.BatchNorm2d if after_conv else nn.BatchNorm1d)(len(self.tensors["running_mean"]))
        )


def candidates(weights: Weights, size: int | None = None) -> list[Chain]:
    """Returns the chains that these weights can be, likeliest first; none when they are no chain."""
    layers = _layers(weights)
    convs = [layer for layer in layers if layer.kind == "conv"]
    dense = [layer for layer in layers if layer.kind == "dense"]
    if not layers or (len(convs) > 10 and len(convs) not in VGG):
        return []
    if not convs:
        inputs = dense[0].weight.shape[1]
        sides = [side for side in (size, *SIZES) if side and inputs in (side * side, 3 * side * side)]
        return [
            Chain(side, (), end=end)
            for side in dict.fromkeys((*sides, *(side for _, side in sides_of(inputs))))
            for end in (("flat", "pixels") if inputs == 3 * side * side else ("flat",))
        ]
    inputs = dense[0].weight.shape[1] if dense else convs[-1].weight.shape[0]
    found = [
        chain
        for side in dict.fromkeys((size, *SIZES) if size else SIZES)
        for chain in _leading_to(convs, inputs, side, has_dense=bool(dense))
    ]
    usual = set(_usual_poolings(convs))
    return sorted(dict.fromkeys(found), key=lambda chain: _oddness(chain, size, usual))[:MAX_CANDIDATES]


def variations(chain: Chain, weights: Weights) -> list[Chain]:
    """Returns the same chain with every activation and kind of pooling and of shortcuts, the given one
    first.
    """
    ends = ("mean", "peak") if chain.end == "mean" else (chain.end,)
    layers = _layers(weights)
    skips = [s for s in SKIPS if replace(chain, skip=s).blocks(layers)] if len(layers) > 2 else []
    joined = [replace(chain, skip=skip, end=end) for skip in ("", *skips) for end in ends]
    kinds = itertools.product(
        ACTIVATIONS, ("max", "avg") if any(c.pool > 1 for c in chain.convs) else ("max",)
    )
    activated = [replace(chain, activation=a, pooling=p) for a, p in kinds]
    return list(dict.fromkeys([chain, *joined, *activated]))


def _leading_to(convs: list[_Layer], inputs: int, side: int, has_dense: bool) -> list[Chain]:
    """Follows the image's side through every choice of padding, stride and pooling; keeps those that fit."""
    kernels = [layer.weight.shape[2] for layer in convs]
    if any(layer.weight.shape[2] != layer.weight.shape[3] for layer in convs):
        return []
    paddings = [[0] * len(kernels), [k // 2 for k in kernels], [kernels[0] // 2] + [0] * (len(kernels) - 1)]
    strides = [[1] * len(kernels), [2] + [1] * (len(kernels) - 1), [2] * len(kernels)]
    strides.append([2 if grows and i else 1 for i, grows in enumerate(_grows(convs))])
    found = []
    for padding, stride in itertools.product(
        map(list, dict.fromkeys(map(tuple, paddings))), map(list, dict.fromkeys(map(tuple, strides)))
    ):
        for pools in _poolings(convs):
            chain = Chain(side, tuple(map(Conv, padding, stride, pools)))
            last = _side_after(kernels, chain)
            width = convs[-1].weight.shape[0]
            if last >= 1 and inputs == width * last * last and has_dense:
                found.append(chain)
            elif (
                last > 1
                and inputs == width
                and (sum(pools) > len(pools) or sum(stride) > len(stride) or not has_dense)
            ):
                found.append(replace(chain, end="mean"))
    return found


def _grows(convs: list[_Layer]) -> list[bool]:
    """Tells of each convolution whether it makes more channels than the one before."""
    widths = [0, *(layer.weight.shape[0] for layer in convs)]
    return [after > before for before, after in itertools.pairwise(widths)]


def _usual_poolings(convs: list[_Layer]) -> list[tuple[int, ...]]:
    """Returns the usual places of pooling: at the ends of VGG's blocks for as many convolutions as it has;
    before channels grow, or behind the convolution that grows them; with and without one behind the last.
    """
    grows = _grows(convs)
    before = [*(2 if later else 1 for later in grows[1:])]
    behind = [2 if here and place else 1 for place, here in enumerate(grows)]
    grown = [(*before, 2), (*before, 1), tuple(behind), (*behind[:-1], 2)]
    return list(dict.fromkeys([*_vgg_poolings(len(convs)), *grown]))


def _vgg_poolings(count: int) -> list[tuple[int, ...]]:
    """Returns the places of VGG's poolings, all and all but the last; none for another depth."""
    ends = list(itertools.accumulate(VGG.get(count, ())))
    return [
        tuple(2 if place in ends[:blocks] else 1 for place in range(1, count + 1))
        for blocks in (5, 4)
        if ends
    ]


def _poolings(convs: list[_Layer]):
    """Yields where pooling may follow: in the usual places; anywhere where convolutions are few."""
    yield from _usual_poolings(convs)
    if len(convs) <= 8:
        yield from itertools.product((2, 1), repeat=len(convs))


def _side_after(kernels: list[int], chain: Chain) -> int:
    side = chain.size
    for kernel, conv in zip(kernels, chain.convs, strict=True):
        side = (side + 2 * conv.padding - kernel) // conv.stride + 1
        side //= conv.pool
        if side < 1:
            return 0
    return side


def _oddness(chain: Chain, size: int | None, usual: set[tuple[int, ...]]) -> tuple:
    mixed = len({c.padding > 0 for c in chain.convs}) - 1
    unpooled = sum(c.pool == 1 for c in chain.convs[:-1])
    return (
        chain.size != size if size else 0,
        tuple(conv.pool for conv in chain.convs) not in usual,
        chain.end == "mean",
        sum(c.stride - 1 for c in chain.convs),
        mixed,
        unpooled,
        SIZES.index(chain.size) if chain.size in SIZES else 0,
    )


def _layers(weights: Weights) -> list[_Layer]:
    """Returns the chain's layers in order, or an empty list when the weights are no chain."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in weights.items():
        prefix, _, suffix = key.rpartition(".")
        if suffix not in SUFFIXES:
            return []
        groups.setdefault(prefix, {})[suffix] = value
    natural = sorted(
        groups, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
    )
    for order in (list(groups), natural):
        layers = [_layer(groups[name]) for name in order]
        if all(layers) and _is_chain(layers):
            return layers
    return []


def _layer(tensors: dict[str, np.ndarray]) -> _Layer | None:
    if {"running_mean", "running_var"} <= set(tensors):
        return _Layer("norm", tensors["running_mean"], tensors)
    weight = tensors.get("weight")
    if weight is None or weight.ndim not in (2, 4) or set(tensors) - {"weight", "bias"}:
        return None
    return _Layer("conv" if weight.ndim == 4 else "dense", weight, tensors)


def _is_chain(layers: list[_Layer]) -> bool:
    channels, seen_dense = None, False
    if layers[0].kind == "norm" or layers[-1].kind == "norm":
        return False
    for layer in layers:
        if layer.kind == "norm":
            fits = len(layer.weight) == channels
        elif layer.kind == "conv":
            per_group = layer.weight.shape[1]
            fits = (
                not seen_dense
                and per_group > 0
                and (
                    channels is None
                    or per_group == channels
                    or (channels % per_group == 0 and layer.weight.shape[0] % (channels // per_group) == 0)
                )
            )
            channels = layer.weight.shape[0]
        else:
            inputs = layer.weight.shape[1]
            fits = inputs == channels if seen_dense else (channels is None or inputs % channels == 0)
            channels, seen_dense = layer.weight.shape[0], True
        if not fits or 0 in layer.weight.shape:
            return False
    return True
