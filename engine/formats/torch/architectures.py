"""Which network do bare weights belong to? Found by the tensors' names and shapes, built and filled.

Families: the networks that Edgewise ships, torchvision's classifiers (trunks.py), timm's (timm_trunks.py) and
CIFAR ResNets after He et al., arXiv 1512.03385: `cifar_resnet20` as in akamaster/pytorch_resnet_cifar10,
`cifar_resnet20_b` as in chenyaofo/pytorch-cifar-models. Plain chains of layers, such as LeNet-5, are in
sequences.py. Imports torch: only for use behind the wall.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from engine.errors import BadInput
from engine.formats.torch import sequences as chains
from engine.formats.torch import timm_trunks, trunks
from engine.formats.torch.fill import fill
from engine.formats.torch.name import Candidate, Name

Weights = Mapping[str, np.ndarray]


def candidates(weights: Weights, size: int | None = None) -> list[Candidate]:
    """Returns the networks that have exactly these names and shapes, likeliest first; none fits: an empty
    list.

    `size` is the data set's image side in pixels, if one is known.
    """
    named = [
        Candidate(name, size or _usual_size(name), *_ends(name, weights))
        for name in KNOWN
        if _fits(name, weights)
    ]
    named += trunks.candidates(weights, size)
    named = named or timm_trunks.candidates(weights, size)
    return named or [Candidate(c.text(), c.size, *c.ends(weights)) for c in chains.candidates(weights, size)]


def named(architecture: str, weights: Weights, size: int | None = None) -> list[Candidate]:
    """Returns the candidate for a name that the user wrote by hand; `build` has shown that it fits."""
    if architecture.startswith("chain:"):
        chain = chains.Chain.parse(architecture)
        return [Candidate(chain.text(), chain.size, *chain.ends(weights))]
    if architecture.startswith(timm_trunks.PREFIX):
        return timm_trunks.named(architecture, weights, size)
    network = build(architecture, weights)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    channels = first.in_channels if isinstance(first, nn.Conv2d) else 1
    return [Candidate(architecture, size or 224, channels, len(list(network.state_dict().values())[-1]))]


def variations(architecture: str, weights: Weights) -> list[str]:
    """Returns the names of the same network with what bare weights leave open: activation, kind of
    pooling.
    """
    if architecture.startswith("chain:"):
        return [chain.text() for chain in chains.variations(chains.Chain.parse(architecture), weights)]
    name = Name.parse(architecture)
    if not name.network.startswith(trunks.PREFIX):
        return []
    return [other.text() for other in trunks.variations(name, weights)]


def full_name(architecture: str) -> str:
    """Returns the name as it is kept: `resnet18` is `torchvision/resnet18`."""
    if architecture.startswith("chain:") or (network := Name.parse(architecture).network) in KNOWN:
        return architecture
    if trunks.PREFIX + network in trunks.listed():
        return trunks.PREFIX + architecture
    return timm_trunks.full_name(network) or architecture


def build(architecture: str, weights: Weights) -> nn.Module:
    """Returns the network of that name, filled with `weights`, in eval mode, float32.

    Raises BadInput when there is no such architecture or the weights don't fit it.
    """
    if architecture.startswith("chain:"):
        return chains.Chain.parse(architecture).build(weights)
    name = Name.parse(full_name(architecture))
    if name.network.startswith(trunks.PREFIX):
        return trunks.build(name, weights)
    if name.network.startswith(timm_trunks.PREFIX):
        return timm_trunks.build(name.network, weights)
    if name.network not in KNOWN:
        raise BadInput(
            f"There is no architecture called '{architecture[:60]}': choose from "
            f"{', '.join(KNOWN)}, or a classifier of torchvision or timm, such as torchvision/resnet18."
        )
    return fill(KNOWN[name.network](*_ends(name.network, weights)), weights, name.network)


def shapes_of(maker: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of a network's state, built without memory where that works."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in maker().state_dict().items()}


def _fits(name: str, weights: Weights) -> bool:
    if _counted(_shapes_as_made(name)) != _counted(weights):  # by names alone, so nothing is built in vain
        return False
    channels, classes = _ends(name, weights)
    if not (0 < channels <= 16 and 0 < classes <= 10_000):
        return False
    shapes = shapes_of(lambda: KNOWN[name](channels, classes))
    return all(weights[key].shape == shapes[key] for key in _counted(shapes))


def _counted(keys: Iterable[str]) -> set[str]:
    return {key for key in keys if not key.endswith("num_batches_tracked")}


@cache
def _shapes_as_made(name: str) -> dict[str, tuple[int, ...]]:
    return shapes_of(lambda: KNOWN[name](1, 10))


def _ends(name: str, weights: Weights) -> tuple[int, int]:
    """Returns the channels and classes that a network must be made with to fit; 1 and 10 where the weights
    don't say.

    The order of the weights is not asked: safetensors sorts them by name.
    """
    shapes = _shapes_as_made(name)
    first, last = next(key for key, shape in shapes.items() if len(shape) == 4), list(shapes)[-1]
    channels = weights[first].shape[1] if first in weights and weights[first].ndim == 4 else 1
    classes = weights[last].shape[0] if last in weights and weights[last].ndim else 10
    return channels, classes


def _usual_size(name: str) -> int:
    return 28 if name.startswith("compact_cnn") else 32


# ---- widely copied networks --------------------------------------------------------------------------------


class Subsample(nn.Module):
    """The shortcut without weights ("option A"): every second pixel, zeros for the new channels."""

    def __init__(self, more: int):
        super().__init__()
        self.more = more

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; `projected`: the shortcut has weights of its own where the shape
    changes.
    """

    def __init__(self, channels: int, width: int, stride: int, projected: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if stride == 1:
            self.downsample = nn.Identity()
        elif projected:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        else:
            self.downsample = Subsample(width - channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.downsample(x))


class CifarResNet(nn.Module):
    """ResNet for 32x32 images with `depth` = 6n + 2 layers; its last layer is called `linear`, or `fc` if
    `projected`.
    """

    def __init__(self, channels: int, classes: int, depth: int, projected: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        width = 16
        for stage, wide in enumerate((16, 32, 64), start=1):
            blocks = [
                CifarBlock(width if i == 0 else wide, wide, 2 if i == 0 and stage > 1 else 1, projected)
                for i in range((depth - 2) // 6)
            ]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            width = wide
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.last = "fc" if projected else "linear"
        setattr(self, self.last, nn.Linear(64, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return getattr(self, self.last)(self.flatten(self.pool(x)))


def _known() -> dict[str, Callable[[int, int], nn.Module]]:
    from models import pytorch

    shipped = {
        name: lambda channels, classes, name=name: pytorch.build(name, channels, classes)
        for name in pytorch.ARCHITECTURES
    }
    resnets = {
        f"cifar_resnet{depth}{'_b' if projected else ''}": (
            lambda channels, classes, depth=depth, projected=projected: CifarResNet(
                channels, classes, depth, projected
            )
        )
        for projected in (False, True)
        for depth in (20, 32, 44, 56, 110)
    }
    return shipped | resnets


KNOWN = _known()
