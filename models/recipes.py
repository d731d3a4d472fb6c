"""What each shipped model is made of and how it is trained; plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """Random changes to each training image: shift in pixels, mirroring, rotation in degrees, scaling as a
    share.
    """

    shift_px: int = 2
    mirror: bool = False
    rotate_degrees: float = 0.0
    scale: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: SGD with Nesterov momentum under a one-cycle schedule, with label smoothing.

    `image_px` is the side that images are brought to, the data set's own by default. Up to `small_epochs`,
    images are shrunk to `small_px`: early epochs learn as much from them in a fraction of the time (Howard,
    fast.ai's DAWNBench entry; Tan and Le, "EfficientNetV2", arXiv 2104.00298).
    """

    architecture: str
    epochs: int
    batch: int = 128
    peak_learning_rate: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    augmentation: Augmentation = Augmentation()
    image_px: int | None = None
    small_px: int = 0
    small_epochs: int = 0


_HAND = Augmentation(shift_px=2, rotate_degrees=8, scale=0.08)
_CLOTHES = Augmentation(shift_px=2, mirror=True)
_PICTURE = Augmentation(shift_px=4, mirror=True)

RECIPES: dict[str, Recipe] = {
    "digits/pytorch/small": Recipe(
        "compact_cnn_32", epochs=60, batch=64, peak_learning_rate=0.05, augmentation=_HAND
    ),
    "mnist/pytorch/small": Recipe("compact_cnn_8", epochs=4, augmentation=_HAND),
    "mnist/pytorch/medium": Recipe("compact_cnn_16", epochs=6, augmentation=_HAND),
    "mnist/pytorch/large": Recipe("stacked_cnn_narrow_256", epochs=14, augmentation=_HAND),
    "fashion_mnist/pytorch/small": Recipe("compact_cnn_16", epochs=7, augmentation=_CLOTHES),
    "fashion_mnist/pytorch/large": Recipe("residual_cnn_256", epochs=12, augmentation=_CLOTHES),
    "cifar10/pytorch/small": Recipe("stacked_cnn_64", epochs=12, augmentation=_PICTURE),
    "cifar10/pytorch/medium": Recipe("stacked_cnn_256", epochs=16, augmentation=_PICTURE),
    "cifar10/pytorch/large": Recipe("residual_cnn_256", epochs=12, augmentation=_PICTURE),
    "cifar10/pytorch/mobilenet_v2": Recipe(
        "torchvision/mobilenet_v2",
        epochs=22,
        weight_decay=1e-4,
        augmentation=Augmentation(shift_px=8, mirror=True),
        image_px=64,
        small_px=48,
        small_epochs=12,
    ),
}


def _normalised(height: int, color: str, mean: list[float], std: list[float]) -> dict:
    return {
        "height": height,
        "width": height,
        "color": color,
        "layout": "NCHW",
        "scale": 1 / 255,
        "mean": mean,
        "std": std,
    }


PREPROCESSING: dict[str, dict] = {
    "digits": _normalised(28, "grey", [0.3058], [0.3249]),
    "mnist": _normalised(28, "grey", [0.1307], [0.3081]),
    "fashion_mnist": _normalised(28, "grey", [0.2860], [0.3530]),
    "cifar10": _normalised(32, "rgb", [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


def preprocessing_of(model_id: str) -> dict:
    """Return how images become the input of a PyTorch model of `RECIPES`: its data set's values at its own
    size.
    """
    base, side = PREPROCESSING[model_id.split("/")[0]], RECIPES[model_id].image_px
    return base | {"height": side, "width": side} if side else base
