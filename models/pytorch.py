"""The shipped architectures in PyTorch: plain, named layers that trace, prune and fold without surprises.

Every network takes float32 [n, channels, height, width] and gives logits float32 [n, classes].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from models.torchvision_shim import import_torchvision


class CompactCnn(nn.Module):
    """Three convolutions and two dense layers for 28x28 images, its weights shared out among both kinds."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, int, int, int]):
        super().__init__()
        first, second, third, dense = widths
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(third)
        self.relu3 = nn.ReLU()
        self.pool3 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(third * 3 * 3, dense)
        self.relu4 = nn.ReLU()
        self.classifier = nn.Linear(dense, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = self.pool3(self.relu3(self.bn3(self.conv3(x))))
        return self.classifier(self.relu4(self.dense(self.flatten(x))))


class StackedCnn(nn.Module):
    """Convolutions in stages, a pooling after each stage, global average pooling, one dense layer.

    `stages` lists the widths of each stage's 3x3 convolutions; almost all weights are in them.
    """

    def __init__(self, channels: int, classes: int, stages: tuple[tuple[int, ...], ...]):
        super().__init__()
        layers = OrderedDict()
        for stage, widths in enumerate(stages, start=1):
            for place, width in enumerate(widths, start=1):
                name = f"{stage}_{place}"
                layers[f"conv{name}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers[f"bn{name}"] = nn.BatchNorm2d(width)
                layers[f"relu{name}"] = nn.ReLU()
                channels = width
            if stage < len(stages):
                layers[f"pool{stage}"] = nn.MaxPool2d(2)
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to their input; the shape stays."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu2(x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


class ResidualCnn(nn.Module):
    """A stem, then stages of one pooling, one widening convolution and one residual block, then one dense
    layer.

    `widths` are the stem's and the stages'. After the "ResNet-9" of the DAWNBench entries: much accuracy for
    few epochs.
    """

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...]):
        super().__init__()
        layers = OrderedDict()
        for stage, width in enumerate(widths):
            if stage > 0:
                layers[f"pool{stage}"] = nn.MaxPool2d(2)
            layers[f"conv{stage}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            layers[f"bn{stage}"] = nn.BatchNorm2d(width)
            layers[f"relu{stage}"] = nn.ReLU()
            if stage > 0:
                layers[f"block{stage}"] = ResidualBlock(width)
            channels = width
        self.features = nn.Sequential(layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "compact_cnn_8": lambda channels, classes: CompactCnn(channels, classes, (8, 16, 32, 32)),
    "compact_cnn_16": lambda channels, classes: CompactCnn(channels, classes, (16, 32, 64, 128)),
    "compact_cnn_32": lambda channels, classes: CompactCnn(channels, classes, (32, 64, 96, 192)),
    "stacked_cnn_64": lambda channels, classes: StackedCnn(channels, classes, ((16,), (32,), (64,), (64,))),
    "stacked_cnn_narrow_256": lambda channels, classes: StackedCnn(
        channels, classes, ((24,), (48,), (96, 128), (256,))
    ),
    "stacked_cnn_256": lambda channels, classes: StackedCnn(
        channels, classes, ((32,), (64,), (128, 128), (256, 256))
    ),
    "residual_cnn_256": lambda channels, classes: ResidualCnn(channels, classes, (32, 64, 128, 256)),
}


def build(name: str, channels: int, classes: int) -> nn.Module:
    """Build an architecture by name, with fresh weights; `channels` of the image, `classes` to tell apart.

    Besides ARCHITECTURES, `torchvision/NAME` is torchvision's network of that name, for colour images. Raises
    KeyError for any other name.
    """
    if name.startswith("torchvision/"):
        return import_torchvision().models.get_model(
            name.removeprefix("torchvision/"), weights=None, num_classes=classes
        )
    return ARCHITECTURES[name](channels=channels, classes=classes)
