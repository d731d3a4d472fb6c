"""TensorFlow's operators that stand between Keras 2's layers (TFOpLambda), by the name that a file gives.

A multiplication or addition of numbers becomes a Rescaling, which folds into the layers around it.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from engine.errors import BadInput
from engine.formats.keras.config import ADVICE


def _tensor(x: Any) -> bool:
    return isinstance(x, keras.KerasTensor)


def _numbers(value: Any):
    array = np.asarray(value, np.float64)
    if array.size == 1:
        return float(array.ravel()[0])
    if array.ndim > 1 and array.size != array.shape[-1]:
        raise BadInput(f"The Keras model computes with a table of numbers between its layers: {ADVICE}")
    return array.ravel().tolist()


def _added(x, y, sign: float = 1.0):
    if _tensor(x) and _tensor(y):
        return ops.add(x, y) if sign > 0 else ops.subtract(x, y)
    if _tensor(x):
        return layers.Rescaling(1.0, offset=np.multiply(sign, _numbers(y)).tolist())(x)
    return layers.Rescaling(sign, offset=_numbers(x))(y)


def _multiplied(x, y):
    if _tensor(x) and _tensor(y):
        return ops.multiply(x, y)
    x, y = (x, y) if _tensor(x) else (y, x)
    return layers.Rescaling(_numbers(y))(x)


def _divided(x, y):
    return ops.divide(x, y) if _tensor(y) else layers.Rescaling(np.divide(1.0, _numbers(y)).tolist())(x)


def _mean(x, axis=None, keepdims=False):
    axes = tuple(sorted(a % len(x.shape) for a in np.atleast_1d(axis).tolist())) if axis is not None else None
    if axes == (1, 2) and len(x.shape) == 4:
        return layers.GlobalAveragePooling2D(keepdims=bool(keepdims))(x)
    return ops.mean(x, axis=axes, keepdims=bool(keepdims))


def _activation(name: str) -> Callable:
    return lambda x, **_: layers.Activation(name)(x)


def _resized(x, size, method="bilinear", **_):
    return layers.Resizing(*map(int, size), interpolation=str(method))(x)


def _reshaped(x, shape):
    return layers.Reshape(tuple(int(n) for n in shape[1:]))(x)


def _sliced(x, slice_spec):
    spec = tuple(_slice(s) for s in (slice_spec if isinstance(slice_spec, list) else [slice_spec]))
    last = (slice(None), slice(None), slice(None), slice(None, None, -1))
    if spec in ((Ellipsis, last[-1]), last):
        return ops.flip(x, axis=-1)
    return x[spec]


def _cast(x, dtype="float32"):
    if "float" not in str(dtype):
        raise BadInput(f"The Keras model rounds its numbers to {str(dtype)[:20]} between layers: {ADVICE}")
    return x  # everything is computed in 32 bits


def _slice(spec: Any):
    if isinstance(spec, dict) and "step" in spec:
        return slice(spec.get("start"), spec.get("stop"), spec.get("step"))
    if isinstance(spec, dict):
        return Ellipsis
    return spec


def _renamed(function: Callable, **names: str) -> Callable:
    """Returns a function of Keras by the names that TensorFlow gives its arguments."""
    return lambda x, **options: function(x, **{names.get(k, k): v for k, v in options.items()})


OPERATORS: dict[str, Callable] = {
    "__operators__.add": _added,
    "math.add": _added,
    "add": _added,
    "math.subtract": lambda x, y: _added(x, y, -1.0),
    "subtract": lambda x, y: _added(x, y, -1.0),
    "math.multiply": _multiplied,
    "multiply": _multiplied,
    "math.truediv": _divided,
    "math.divide": _divided,
    "realdiv": _divided,
    "divide": _divided,
    "math.negative": lambda x: layers.Rescaling(-1.0)(x),
    "math.maximum": lambda x, y: ops.maximum(x, y),
    "math.minimum": lambda x, y: ops.minimum(x, y),
    "math.abs": ops.abs,
    "math.square": ops.square,
    "math.sqrt": ops.sqrt,
    "math.pow": lambda x, y: ops.power(x, y),
    "math.exp": ops.exp,
    "nn.bias_add": lambda value, bias, **_: _added(value, bias),
    "nn.relu": _activation("relu"),
    "nn.relu6": _activation("relu6"),
    "nn.elu": _activation("elu"),
    "nn.selu": _activation("selu"),
    "nn.silu": _activation("silu"),
    "nn.swish": _activation("silu"),
    "nn.sigmoid": _activation("sigmoid"),
    "math.sigmoid": _activation("sigmoid"),
    "sigmoid": _activation("sigmoid"),
    "nn.tanh": _activation("tanh"),
    "math.tanh": _activation("tanh"),
    "tanh": _activation("tanh"),
    "nn.softplus": _activation("softplus"),
    "math.softplus": _activation("softplus"),
    "nn.softmax": _activation("softmax"),
    "nn.gelu": lambda x, approximate=False: ops.gelu(x, approximate=bool(approximate)),
    "nn.leaky_relu": lambda x, alpha=0.2: layers.LeakyReLU(alpha)(x),
    "math.reduce_mean": _mean,
    "reduce_mean": _mean,
    "math.reduce_max": _renamed(ops.max),
    "reduce_max": _renamed(ops.max),
    "math.reduce_sum": _renamed(ops.sum),
    "reduce_sum": _renamed(ops.sum),
    "clip_by_value": lambda x, clip_value_min, clip_value_max: ops.clip(x, clip_value_min, clip_value_max),
    "concat": lambda x, axis: layers.Concatenate(axis=int(axis))(x),
    "reshape": _reshaped,
    "transpose": lambda x, perm: layers.Permute(tuple(int(n) for n in perm[1:]))(x),
    "squeeze": _renamed(ops.squeeze),
    "expand_dims": _renamed(ops.expand_dims),
    "image.resize": _resized,
    "__operators__.getitem": _sliced,
    "cast": _cast,
    "identity": lambda x: x,
    "stop_gradient": lambda x: x,
    "convert_to_tensor": lambda x, **_: x,
    "nn.dropout": lambda x, **_: x,
}
