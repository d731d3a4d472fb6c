"""How an image becomes the model's input, and its scores probabilities; the same functions in the engine and
on the device.

The specification is the `preprocessing` object of metadata.json:
{"height": 28, "width": 28, "color": "grey", "layout": "NCHW", "scale": 0.00392, "mean": [0.13], "std":
[0.31], "fit": "stretch", "upright": true}
The last two say how a picture comes to that size before (image.py): in which of its FITS, and whether it is
turned by its EXIF note.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def preprocess(images: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Turns uint8 images [n, height, width, channels] (grey: 1 channel, else RGB) into float32 model input.

    Every value becomes (value * scale - mean) / std, channels are swapped for "bgr", and the layout is
    [n, channels, height, width] for "NCHW". Raises ValueError for another size or channel count.
    """
    images = np.asarray(images)
    channels = 1 if spec["color"] == "grey" else 3
    expected = (spec["height"], spec["width"], channels)
    if images.ndim != 4 or images.shape[1:] != expected:
        raise ValueError("expected images of shape [n, %d, %d, %d], got %r" % (expected + (images.shape,)))
    if spec["color"] == "bgr":
        images = images[..., ::-1]
    x: Any = images.astype(np.float32) * np.float32(spec["scale"])
    x = (x - np.asarray(spec["mean"], np.float32)) / np.asarray(spec["std"], np.float32)
    if spec["layout"] == "NCHW":
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x, dtype=np.float32)


def probabilities(scores: np.ndarray, outputs: str) -> np.ndarray:
    """Returns scores [..., classes] as probabilities; outputs: `logits`, which go through a softmax, or
    `probabilities`.
    """
    if outputs == "probabilities":
        return scores
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
