"""The shipped architectures in Keras: the layers of `models/pytorch.py` by the same names, channels last.

Every network takes float32 [n, height, width, channels] and gives logits float32 [n, classes].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers

# PyTorch's BatchNorm, so that its statistics may be taken over: Keras' own epsilon is 1e-3.
_EPSILON, _MOMENTUM = 1e-5, 0.9


def _conv(x, width: int, place: str, prefix: str = ""):
    """A 3x3 convolution without bias, batch normalisation and ReLU, called conv1, bn1 and relu1 for place
    "1".
    """
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{prefix}conv{place}")(x)
    x = layers.BatchNormalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=f"{prefix}bn{place}")(x)
    return layers.ReLU(name=f"{prefix}relu{place}")(x)


def _compact_cnn(shape: tuple[int, int, int], classes: int, widths: tuple[int, int, int, int]) -> keras.Model:
    x = inputs = keras.Input(shape, name="input")
    for place, width in enumerate(widths[:3], start=1):
        x = layers.MaxPooling2D(2, name=f"pool{place}")(_conv(x, width, str(place)))
    x = layers.Dense(widths[3], name="dense")(layers.Flatten(name="flatten")(x))
    return keras.Model(inputs, layers.Dense(classes, name="classifier")(layers.ReLU(name="relu4")(x)))


def _stacked_cnn(
    shape: tuple[int, int, int], classes: int, stages: tuple[tuple[int, ...], ...]
) -> keras.Model:
    x = inputs = keras.Input(shape, name="input")
    for stage, widths in enumerate(stages, start=1):
        for place, width in enumerate(widths, start=1):
            x = _conv(x, width, f"{stage}_{place}")
        if stage < len(stages):
            x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="classifier")(x))


def _residual_cnn(shape: tuple[int, int, int], classes: int, widths: tuple[int, ...]) -> keras.Model:
    x = inputs = keras.Input(shape, name="input")
    x = _conv(x, widths[0], "0")
    for stage, width in enumerate(widths[1:], start=1):
        x = _conv(layers.MaxPooling2D(2, name=f"pool{stage}")(x), width, str(stage))
        block = f"block{stage}_"
        y = _conv(x, width, "1", block)
        y = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{block}conv2")(y)
        y = layers.BatchNormalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=f"{block}bn2")(y)
        x = layers.ReLU(name=f"{block}relu2")(layers.Add(name=f"{block}add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="classifier")(x))


ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "compact_cnn_8": lambda shape, classes: _compact_cnn(shape, classes, (8, 16, 32, 32)),
    "compact_cnn_16": lambda shape, classes: _compact_cnn(shape, classes, (16, 32, 64, 128)),
    "compact_cnn_32": lambda shape, classes: _compact_cnn(shape, classes, (32, 64, 96, 192)),
    "stacked_cnn_64": lambda shape, classes: _stacked_cnn(shape, classes, ((16,), (32,), (64,), (64,))),
    "stacked_cnn_narrow_256": lambda shape, classes: _stacked_cnn(
        shape, classes, ((24,), (48,), (96, 128), (256,))
    ),
    "stacked_cnn_256": lambda shape, classes: _stacked_cnn(
        shape, classes, ((32,), (64,), (128, 128), (256, 256))
    ),
    "residual_cnn_256": lambda shape, classes: _residual_cnn(shape, classes, (32, 64, 128, 256)),
}


def build(name: str, shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build an architecture by name, with fresh weights, for images of `shape` (height, width, channels).

    Raises KeyError for a name that is not in ARCHITECTURES.
    """
    return ARCHITECTURES[name](tuple(shape), classes)


def take_over(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Set the model's weights from the state dict of the PyTorch network of the same architecture.

    `weights` maps PyTorch's names to float32 arrays, convolutions [out, in, kh, kw], dense layers [out, in].
    Raises KeyError when a layer's weights are missing and ValueError when they don't fit.
    """
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for name, value in weights.items():
        layer, kind = name.removeprefix("features.").rsplit(".", 1)
        by_layer.setdefault(layer.replace(".", "_"), {})[kind] = value
    for layer in model.layers:
        if not layer.weights:
            continue
        given = by_layer[layer.name]
        if isinstance(layer, layers.Conv2D):
            layer.set_weights([given["weight"].transpose(2, 3, 1, 0)])
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([given[kind] for kind in ("weight", "bias", "running_mean", "running_var")])
        else:
            layer.set_weights([_dense_kernel(model, layer, given["weight"]), given["bias"]])


def _dense_kernel(model: keras.Model, layer: layers.Dense, weight: np.ndarray) -> np.ndarray:
    """Turn [out, in] into [in, out]; after a flattening also from PyTorch's channels-first order of the
    inputs.
    """
    before = layer.input._keras_history.operation
    if isinstance(before, layers.Flatten):
        height, width, channels = before.input.shape[1:]
        weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return weight.T
