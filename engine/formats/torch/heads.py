"""Heads of torchvision's classifiers: the usual one under other names, or layers made of their weights.

Transfer learning puts another head on a known trunk: one dense layer in place of a Sequential, two in place
of one, normalisation and dropout between. Shapes and numbered names give the layers; the activation between
dense layers is the usual one (ReLU) unless it is named.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.torch.fill import AS_ONNX

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "none": nn.Identity,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
}
MAPS = ("squeezenet", "convnext", "maxvit")  # their heads get the trunk's pictures, not their means
MOST = 12  # layers of a head
Tensors = Mapping[str, np.ndarray]


class Head(nn.Sequential):
    """A head that was made of its weights' shapes."""


class BothPools(nn.Module):
    """The largest and the mean value of each channel, one behind the other, as fastai's heads want them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.amax(x, (2, 3), keepdim=True), torch.mean(x, (2, 3), keepdim=True)], 1)


@dataclass(frozen=True)
class Layer:
    """One layer with weights: its name in the head, its kind and its tensors."""

    name: str
    kind: str  # dense, conv, norm (of a batch) or layer_norm
    tensors: Tensors

    @property
    def inputs(self) -> int:
        weight = self.tensors["weight" if "weight" in self.tensors else "running_mean"]
        return weight.shape[1] if self.kind in ("dense", "conv") else weight.shape[0]

    @property
    def outputs(self) -> int:
        return self.tensors["weight"].shape[0] if self.kind in ("dense", "conv") else self.inputs

    def shapes(self) -> tuple:
        """Returns what tells it from another: its kind and its tensors' shapes."""
        return self.kind, sorted((key, value.shape) for key, value in self.tensors.items())

    def module(self) -> nn.Module:
        """Returns the layer on the meta device."""
        bias = "bias" in self.tensors
        with torch.device("meta"):
            if self.kind == "dense":
                return nn.Linear(self.inputs, self.outputs, bias=bias)
            if self.kind == "conv":
                return nn.Conv2d(self.inputs, self.outputs, 1, bias=bias)
            if self.kind == "norm":
                return nn.BatchNorm1d(self.inputs, affine="weight" in self.tensors)
            return nn.LayerNorm(self.inputs, bias=bias)


def place(network: nn.Module) -> str:
    """Returns the name of the module that is the network's head."""
    return list(network.state_dict())[-1].partition(".")[0]


def fit(network: nn.Module, rest: Tensors, activation: str, name: str) -> dict[str, np.ndarray]:
    """Gives the network the head that these tensors are, and returns them under its names.

    `activation`: what stands between its dense layers; "" for the usual. Raises BadInput where they are no
    head.
    """
    where = place(network)
    usual = [layer for layer in _layers_of(network.state_dict(), where)]
    given = _ordered(_parsed(rest), _features(network, usual[0]), name)
    if not activation and _alike(usual, given):
        _set_classes(network, f"{where}.{usual[-1].name}".rstrip("."), given[-1].outputs)
        return {
            ".".join(filter(None, (where, own.name, key))): value
            for own, layer in zip(usual, given, strict=True)
            for key, value in layer.tensors.items()
        }
    made = _made(network, given, activation or "relu", name)
    setattr(network, where, made)
    return {
        f"{where}.layer{i}.{key}": value
        for i, layer in enumerate(given)
        for key, value in layer.tensors.items()
    }


def dense_layers(network: nn.Module) -> int:
    """Returns how many dense layers the head has."""
    head = network.get_submodule(place(network))
    return sum(isinstance(module, nn.Linear) for module in head.modules())


def _layers_of(state: Mapping[str, torch.Tensor], where: str) -> list[Layer]:
    own = {
        key.removeprefix(where + "."): value for key, value in state.items() if key.startswith(where + ".")
    }
    return _parsed({key: np.empty(value.shape, bool) for key, value in own.items() if value.ndim})


def _parsed(tensors: Tensors) -> list[Layer]:
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in tensors.items():
        name, _, own = key.rpartition(".")
        groups.setdefault(name, {})[own] = value
    return [Layer(name, _kind(group), group) for name, group in groups.items()]


def _kind(group: Tensors) -> str:
    weight = group.get("weight")
    if {"running_mean", "running_var"} <= set(group) <= {"weight", "bias", "running_mean", "running_var"}:
        return "norm" if all(value.ndim == 1 for value in group.values()) else ""
    if weight is None or not set(group) <= {"weight", "bias"} or 0 in weight.shape:
        return ""
    if weight.ndim == 4:
        return "conv" if weight.shape[2:] == (1, 1) else ""
    return {1: "layer_norm", 2: "dense"}.get(weight.ndim, "")


def _ordered(layers: list[Layer], features: set[int], name: str) -> list[Layer]:
    """Returns the layers as one follows the other by their widths. Raises BadInput where they don't."""
    natural = sorted(
        layers, key=lambda layer: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", layer.name)]
    )
    for order in (layers, natural, _by_width(layers, features)):
        if layers and len(layers) <= MOST and _follow(order, features):
            return order
    first = next((f"{layer.name}.{key}".lstrip(".") for layer in layers for key in layer.tensors), "nothing")
    raise BadInput(
        f"The weights have the trunk of {name}, and behind it no head of dense layers that fits (it begins"
        f" with '{first[:80]}'): {AS_ONNX}"
    )


def _follow(layers: list[Layer], features: set[int]) -> bool:
    widths = features
    for layer in layers:
        if not layer.kind or layer.inputs not in widths:
            return False
        widths = {layer.outputs}
    return bool(layers) and layers[-1].kind in ("dense", "conv") and layers[-1].outputs > 1


def _by_width(layers: list[Layer], features: set[int]) -> list[Layer]:
    left, widths = [layer for layer in layers if layer.kind], features
    order: list[Layer] = []
    while left:
        fitting = [layer for layer in left if layer.inputs in widths]
        if not fitting:
            return order
        chosen = next((layer for layer in fitting if "norm" in layer.kind), fitting[0])
        left.remove(chosen)
        order.append(chosen)
        widths = {chosen.outputs}
    return order


def _alike(usual: list[Layer], given: list[Layer]) -> bool:
    """Tells whether these are the usual layers, with another number of classes."""
    if len(usual) != len(given) or any(
        a.shapes() != b.shapes() for a, b in zip(usual[:-1], given[:-1], strict=True)
    ):
        return False
    one, other = usual[-1], given[-1]
    return (one.kind, one.inputs, set(one.tensors)) == (other.kind, other.inputs, set(other.tensors))


def _set_classes(network: nn.Module, path: str, classes: int) -> None:
    last = network.get_submodule(path)
    made: nn.Module
    with torch.device("meta"):
        if isinstance(last, nn.Linear):
            made = nn.Linear(last.in_features, classes, last.bias is not None)
        else:  # SqueezeNet's
            assert isinstance(last, nn.Conv2d)
            made = nn.Conv2d(last.in_channels, classes, 1, bias=last.bias is not None)
    parent, _, own = path.rpartition(".")
    setattr(network.get_submodule(parent), own, made)


def _grid(network: nn.Module) -> int:
    """Returns the side of the grid that the network's pooling leaves before the head flattens it."""
    pool = getattr(network, "avgpool", None)
    size = pool.output_size if isinstance(pool, nn.AdaptiveAvgPool2d) else 1
    return int((size[0] if isinstance(size, tuple) else size) or 1)


def _features(network: nn.Module, first: Layer) -> set[int]:
    """Returns how many numbers of an image may come to the head: a mean a channel, two, or a small grid."""
    channels = first.inputs // _grid(network) ** 2
    pooled = isinstance(getattr(network, "avgpool", None), nn.AdaptiveAvgPool2d)
    return {channels, *((2 * channels, *(channels * k * k for k in range(2, 9))) if pooled else ())}


def _made(network: nn.Module, layers: list[Layer], activation: str, name: str) -> Head:
    channels = _layers_of(network.state_dict(), place(network))[0].inputs // _grid(network) ** 2
    inputs = layers[0].inputs
    if isinstance(getattr(network, "avgpool", None), nn.AdaptiveAvgPool2d) and not name.startswith(MAPS):
        side = round((inputs / channels) ** 0.5)
        network.avgpool = BothPools() if inputs == 2 * channels else nn.AdaptiveAvgPool2d(side)
    modules: dict[str, nn.Module] = {}
    on_maps = name.startswith(MAPS)
    convs = on_maps and layers[0].kind == "conv"
    if on_maps and not convs:
        modules |= {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    waiting = ""  # the layer whose activation has not come yet
    for i, layer in enumerate(layers):
        if layer.kind == "conv" and not convs:
            modules[f"grid{i}"] = nn.Unflatten(1, (layer.inputs, 1, 1))
            convs = True
        if convs and layer.kind != "conv":
            modules |= {f"mean{i}": nn.AdaptiveAvgPool2d(1), f"flatten{i}": nn.Flatten()}
            convs = False
        before = layer.kind in ("dense", "conv") or (waiting and _gap(waiting, layer.name) > 1)
        if waiting and before:
            modules[f"act{i}"] = ACTIVATIONS.get(activation, nn.ReLU)()
            waiting = ""
        modules[f"layer{i}"] = layer.module()
        if layer.kind in ("dense", "conv"):
            waiting = layer.name or "0"
    if convs:
        modules |= {"mean": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    made = Head()
    for key, module in modules.items():
        made.add_module(key, module)
    return made


def _gap(one: str, other: str) -> int:
    """Returns how far two numbered names lie apart: 1 where nothing can stand between, 0 for other names."""
    first, second = one.rpartition(".")[2], other.rpartition(".")[2]
    return int(second) - int(first) if first.isdigit() and second.isdigit() else 0
