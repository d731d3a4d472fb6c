"""Which network do bare weights belong to? Found by the tensors' names and shapes, built and filled.

Three families: the networks that Edgewise ships, torchvision's classifiers (`torchvision/resnet18`, also
under the
names that kuangliu/pytorch-cifar gives their layers), and CIFAR ResNets after He et al., arXiv 1512.03385:
`cifar_resnet20` as in akamaster/pytorch_resnet_cifar10, `cifar_resnet20_b` as in
chenyaofo/pytorch-cifar-models.
Plain chains of layers, such as LeNet-5, are in chains.py. Imports torch: only for use behind the wall.
`python -m engine.formats.torch.architectures` writes torchvision_keys.json anew.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from engine.errors import BadInput
from engine.formats.torch import sequences as chains
from models.torchvision_shim import import_torchvision

Weights = Mapping[str, np.ndarray]
KEYS = Path(__file__).with_name("torchvision_keys.json")
NEED_REAL_MEMORY = "regnet"  # torchvision's RegNets can't be built on the meta device
NEED_THEIR_SIZE = ("vit", "swin", "maxvit", "inception", "googlenet")
SIZES = {"inception_v3": 299}


@dataclass(frozen=True)
class Candidate:
    """A network that weights fit: its name for `build`, the image size (pixels) it was made for, channels,
    classes.
    """

    architecture: str
    size: int
    channels: int
    classes: int


def candidates(weights: Weights, size: int | None = None) -> list[Candidate]:
    """Returns the networks that have exactly these names and shapes, likeliest first; none fits: an empty
    list.

    `size` is the data set's image side in pixels, if one is known.
    """
    named = [
        Candidate(name, size or _usual_size(name), *_ends(maker, weights))
        for name, maker in KNOWN.items()
        if _fits(maker, weights)
    ]
    named += _torchvision(weights, size)
    return named or [Candidate(c.text(), c.size, *c.ends(weights)) for c in chains.candidates(weights, size)]


def named(architecture: str, weights: Weights) -> list[Candidate]:
    """Returns the candidate for a chain that the user wrote by hand; `build` has shown that it fits."""
    if not architecture.startswith("chain:"):
        return []
    chain = chains.Chain.parse(architecture)
    return [Candidate(chain.text(), chain.size, *chain.ends(weights))]


def variations(architecture: str) -> list[str]:
    """Returns the names of the same network with what bare weights leave open: activation, kind of
    pooling.
    """
    if not architecture.startswith("chain:"):
        return []
    return [chain.text() for chain in chains.variations(chains.Chain.parse(architecture))]


def build(architecture: str, weights: Weights) -> nn.Module:
    """Returns the network of that name, filled with `weights`, in eval mode, float32.

    Raises BadInput when there is no such architecture or the weights don't fit it.
    """
    if architecture.startswith("chain:"):
        return chains.Chain.parse(architecture).build(weights)
    try:
        if architecture.startswith("torchvision/"):
            weights = _renamed(weights)
            network = _torchvision_network(architecture.removeprefix("torchvision/"), weights)
        else:
            network = KNOWN[architecture](*_ends(KNOWN[architecture], weights))
    except (KeyError, ValueError):
        raise BadInput(
            f"There is no architecture called '{architecture[:60]}': choose from "
            f"{', '.join(KNOWN)} or a classifier of torchvision, such as torchvision/resnet18."
        ) from None
    return fill(network, weights, architecture)


def fill(network: nn.Module, weights: Weights, name: str) -> nn.Module:
    """Puts `weights` into `network` (which may be on the meta device). Raises BadInput naming the first
    mismatch.
    """
    own = network.state_dict()
    for key in sorted(set(own) ^ set(weights)):
        if not key.endswith("num_batches_tracked"):
            where = "lacks" if key in own else "has a surplus"
            raise BadInput(
                f"The weights don't fit {name}: the file {where} '{key}'; choose another architecture."
            )
    for key in own:
        if key in weights and tuple(own[key].shape) != weights[key].shape:
            raise BadInput(
                f"The weights don't fit {name}: '{key}' is {list(weights[key].shape)} in the file and "
                f"{list(own[key].shape)} in the network; choose another architecture."
            )
    for key in own:  # in place, so that the versions that some layers look for stay with it
        own[key] = (
            torch.from_numpy(np.ascontiguousarray(weights[key]))
            if key in weights
            else torch.zeros((), dtype=torch.long)
        )
    network.load_state_dict(own, assign=True)
    return network.float().eval().requires_grad_(False)


def shapes_of(maker: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of a network's state, built without memory where that works."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in maker().state_dict().items()}


def _fits(maker: Callable[[int, int], nn.Module], weights: Weights) -> bool:
    channels, classes = _ends(maker, weights)
    if not (0 < channels <= 16 and 0 < classes <= 10_000):
        return False
    return _same(shapes_of(lambda: maker(channels, classes)), weights)


def _same(shapes: Mapping[str, tuple[int, ...]], weights: Weights) -> bool:
    def counted(keys):
        return {key for key in keys if not key.endswith("num_batches_tracked")}

    return counted(shapes) == counted(weights) and all(
        weights[key].shape == shapes[key] for key in counted(shapes)
    )


def _ends(maker: Callable[[int, int], nn.Module], weights: Weights) -> tuple[int, int]:
    """Returns the channels and classes that a network must be made with to fit; 1 and 10 where the weights
    don't say.

    The order of the weights is not asked: safetensors sorts them by name.
    """
    shapes = shapes_of(lambda: maker(1, 10))
    first, last = next(key for key, shape in shapes.items() if len(shape) == 4), list(shapes)[-1]
    channels = weights[first].shape[1] if first in weights and weights[first].ndim == 4 else 1
    classes = weights[last].shape[0] if last in weights and weights[last].ndim else 10
    return channels, classes


def _usual_size(name: str) -> int:
    return 28 if name.startswith("compact_cnn") else 32


# ---- torchvision -------------------------------------------------------------------------------------------


def _torchvision(weights: Weights, size: int | None) -> list[Candidate]:
    weights = _renamed(weights)
    names = json.loads(KEYS.read_text(encoding="utf-8")).get(_hash_of(weights), [])
    found = []
    for name in names:
        try:
            network = _torchvision_network(name, weights)
        except ValueError:
            continue
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        if _same(shapes, weights):
            channels, classes = _ends_of(network)
            found += [
                Candidate(f"torchvision/{name}", side, channels, classes)
                for side in _usual_sizes(name, network, size)
            ]
    return found


def _renamed(weights: Weights) -> Weights:
    """Gives the layers torchvision's names, where a copy of the network or a new head names them
    otherwise.
    """
    heads = {key.split(".")[1] for key in weights if re.match(r"fc\.\d+\.", key)}
    renamed = {}
    for key, value in weights.items():
        if "layer1.0.conv1.weight" in weights:
            key = re.sub(r"^linear\.", "fc.", key.replace(".shortcut.", ".downsample."))
        renamed[re.sub(r"^fc\.\d+\.", "fc.", key) if len(heads) == 1 else key] = value
    return renamed


def _usual_sizes(name: str, network: nn.Module, size: int | None) -> list[int]:
    """Returns the sides of images that such a network is trained on, the likeliest first."""
    if isinstance(getattr(network, "maxpool", None), nn.Identity):
        return [size or 32]
    if name.startswith(NEED_THEIR_SIZE) or size is None:
        return [SIZES.get(name, 224)]
    return list(dict.fromkeys((size, 64, 96, 224) if size < 96 else (224, size)))


def _torchvision_network(name: str, weights: Weights) -> nn.Module:
    """Builds a classifier with as many classes and channels as the weights have. Raises ValueError: no such
    name.
    """
    models = import_torchvision().models
    if name not in models.list_models(module=models):
        raise ValueError(name)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    device = "cpu" if name.startswith(NEED_REAL_MEMORY) else "meta"
    with torch.device(device):
        last = list(models.get_model(name, weights=None, **options).state_dict())[-1]
        classes = len(weights[last]) if last in weights and weights[last].ndim else 0
        if not classes:
            raise ValueError(name)
        network = models.get_model(name, weights=None, num_classes=classes, **options)
        _fit_stem(network, weights)
    return network


def _fit_stem(network: nn.Module, weights: Weights) -> None:
    """Fits the first convolution to the weights: other channels, or the 3x3 stem that small images get."""
    path, stem = next((path, m) for path, m in network.named_modules() if isinstance(m, nn.Conv2d))
    given = weights.get(f"{path}.weight")
    if (
        given is None
        or given.shape == tuple(stem.weight.shape)
        or given.ndim != 4
        or given.shape[0] != stem.out_channels
    ):
        return
    small = given.shape[2:] == (3, 3) and stem.kernel_size == (7, 7)
    options = {"stride": 1, "padding": 1} if small else {"stride": stem.stride, "padding": stem.padding}
    parent, _, own = path.rpartition(".")
    setattr(
        network.get_submodule(parent),
        own,
        nn.Conv2d(given.shape[1], stem.out_channels, given.shape[2:], bias=stem.bias is not None, **options),
    )
    if small and hasattr(network, "maxpool"):
        network.maxpool = nn.Identity()


def _ends_of(network: nn.Module) -> tuple[int, int]:
    stem = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    return stem.in_channels, int(list(network.state_dict().values())[-1].shape[0])


def _hash_of(names) -> str:
    keys = sorted(key for key in names if not key.endswith("num_batches_tracked"))
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:12]


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


def _write_keys() -> None:
    models = import_torchvision().models
    table: dict[str, list[str]] = {}
    for name in models.list_models(module=models):
        if name != "regnet_y_128gf":  # 645 million weights
            with torch.device("cpu" if name.startswith(NEED_REAL_MEMORY) else "meta"):
                table.setdefault(_hash_of(models.get_model(name, weights=None).state_dict()), []).append(name)
    rows = (
        f' "{key}": {json.dumps(names)}' for key, names in sorted(table.items(), key=lambda item: item[1])
    )
    KEYS.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    _write_keys()
