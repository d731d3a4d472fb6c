"""What light, lenses and cameras do to pictures, at three severities: after Hendrycks and Dietterich 2019
(arXiv 1903.12261), with shift and rotation, as a camera on a line gives them. Seeded: the same every time.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

SEVERITIES = 3
Corrupt = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _brightness(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    return image + (30, 60, 90)[severity] * random.choice((-1, 1))


def _contrast(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    middle = image.mean(axis=(0, 1), keepdims=True)
    return middle + (image - middle) * (0.7, 0.5, 0.3)[severity]


def _blur(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    # of the picture's side, so that small and large pictures lose alike
    sigma = (0.01, 0.02, 0.03)[severity] * min(image.shape[:2])
    return np.asarray(ndimage.gaussian_filter(image, (sigma, sigma, 0)))


def _noise(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    return image + random.normal(0, (10, 20, 35)[severity], image.shape)


def _jpeg(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    grey = image.shape[2] == 1
    picture = Image.fromarray(_bytes(image[..., 0] if grey else image))
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=(40, 20, 10)[severity])
    return np.asarray(Image.open(stored), np.float32).reshape(image.shape)


def _shift(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    most = (0.04, 0.08, 0.12)[severity]
    far = [round(most * side * random.choice((-1, 1))) for side in image.shape[:2]]
    return np.asarray(ndimage.shift(image, (*far, 0), order=0, mode="nearest"))


def _rotation(image: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    angle = (5, 10, 20)[severity] * random.choice((-1, 1))
    return np.asarray(ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest"))


CORRUPTIONS: dict[str, Corrupt] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "shift": _shift,
    "rotation": _rotation,
}


def corrupted(images: np.ndarray, name: str, severity: int) -> np.ndarray:
    """Returns uint8 images [n, height, width, channels] with one corruption, severity 0, 1 or 2; the
    same ones every time.
    """
    random = np.random.default_rng([list(CORRUPTIONS).index(name), severity])
    made = [CORRUPTIONS[name](image.astype(np.float32), severity, random) for image in images]
    return np.stack([_bytes(image) for image in made])


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(image).clip(0, 255).astype(np.uint8)
