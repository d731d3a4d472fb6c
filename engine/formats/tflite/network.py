"""A float TFLite graph as a Keras model, layer by layer, proved equal to LiteRT on random images.

So a file of which only the TFLite form is left can still be trained, pruned and quantized. A SavedModel comes
the same way, through TensorFlow's own converter. Imports Keras: only for use behind the wall.
"""

from collections.abc import Callable

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from engine.formats.tflite.graph import KINDS, Graph, Operator

ACTIVATIONS = {0: None, 1: "relu", 3: "relu6", 4: "tanh"}
PLAIN = {
    "RELU": layers.ReLU,
    "RELU6": lambda name: layers.ReLU(6.0, name=name),
    "SOFTMAX": layers.Softmax,
    "LOGISTIC": lambda name: layers.Activation("sigmoid", name=name),
    "TANH": lambda name: layers.Activation("tanh", name=name),
    "ELU": lambda name: layers.Activation("elu", name=name),
    "HARD_SWISH": lambda name: layers.Activation("hard_silu", name=name),
    "GELU": lambda name: layers.Activation("gelu", name=name),
}
RESHAPING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
SIZES_ONLY = (
    "SHAPE",
    "STRIDED_SLICE",
    "PACK",
)  # how exporters compute a reshape; the tensor's own shape tells it


class _Unknown(Exception):
    """An operator that has no layer here."""


def try_network(
    graph: Graph, predict: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int, int]
) -> tuple[keras.Model | None, str]:
    """Returns the Keras model that gives the same scores as `predict`, or None and the reason. shape: of one
    image.
    """
    try:
        network = _build(graph, shape)
    except _Unknown as unknown:
        return None, f"it has {unknown}, which can't be made a Keras layer again"
    except (ValueError, TypeError, KeyError, IndexError) as error:
        return None, f"its layers can't be followed ({type(error).__name__})"
    images = np.rint(np.random.default_rng(0).random((2, *shape), np.float32) * 255)
    images = images if graph.tensors[graph.inputs[0]].kind == 3 else images / 255
    expected, given = predict(images), np.asarray(network(images.astype(np.float32), training=False))
    if given.shape != expected.shape or not np.allclose(
        given, expected, rtol=1e-3, atol=1e-3 * (1 + np.abs(expected).max())
    ):
        return None, "its Keras translation gives other scores than LiteRT"
    return network, ""


def _build(graph: Graph, shape: tuple[int, int, int]) -> keras.Model:
    image = keras.Input(shape, name="input")
    values = {graph.inputs[0]: image}
    if len(wanted := graph.tensors[graph.inputs[0]].shape) < 4:
        values[graph.inputs[0]] = layers.Reshape(wanted[1:])(image)
    constants: dict[int, np.ndarray] = {
        i: t.array() for i, t in enumerate(graph.tensors) if t.data is not None and t.kind in KINDS
    }
    for number, op in enumerate(graph.operators):
        if op.name == "DEQUANTIZE" and op.inputs[0] in constants:
            constants[op.outputs[0]] = constants[op.inputs[0]].astype(np.float32)
        elif op.name not in SIZES_ONLY:
            values[op.outputs[0]] = _layer(op, number, values, constants, graph)
    return keras.Model(image, values[graph.outputs[0]])


def _layer(op: Operator, number: int, values: dict, constants: dict, graph: Graph):
    name = f"{op.name.lower()}_{number}"
    target = graph.tensors[op.outputs[0]].shape[1:]
    if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return _weighted(op, name, values, constants)
    x = values.get(op.inputs[0])
    if op.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        options = _options(op, schema.Pool2DOptions)
        kind = layers.MaxPooling2D if op.name == "MAX_POOL_2D" else layers.AveragePooling2D
        y = kind(
            (options.FilterHeight(), options.FilterWidth()),
            (options.StrideH(), options.StrideW()),
            _padding(options),
            name=name,
        )(x)
        return _activated(y, options, name)
    if op.name in PLAIN:
        return PLAIN[op.name](name=name)(x)
    if op.name in RESHAPING:
        return layers.Flatten(name=name)(x) if len(target) == 1 else layers.Reshape(target, name=name)(x)
    if op.name == "CAST":
        return x
    if op.name == "MEAN" and sorted(np.atleast_1d(constants[op.inputs[1]]).tolist()) in ([1, 2], [-3, -2]):
        return layers.GlobalAveragePooling2D(keepdims=len(target) == 3, name=name)(x)
    if op.name == "PAD" and not constants[op.inputs[1]][[0, 3]].any():
        return layers.ZeroPadding2D(tuple(map(tuple, constants[op.inputs[1]][1:3].tolist())), name=name)(x)
    if op.name == "TRANSPOSE" and constants[op.inputs[1]][0] == 0:
        return layers.Permute(tuple(constants[op.inputs[1]][1:].tolist()), name=name)(x)
    if op.name == "LEAKY_RELU":
        return layers.LeakyReLU(negative_slope=_options(op, schema.LeakyReluOptions).Alpha(), name=name)(x)
    if op.name == "CONCATENATION":
        options = _options(op, schema.ConcatenationOptions)
        return _activated(
            layers.Concatenate(axis=options.Axis(), name=name)([values[i] for i in op.inputs]), options, name
        )
    if op.name in ("ADD", "MUL", "SUB"):
        return _arithmetic(op, name, values, constants)
    raise _Unknown(op.name)


def _weighted(op: Operator, name: str, values: dict, constants: dict):
    x, kernel = values[op.inputs[0]], constants[op.inputs[1]].astype(np.float32)
    bias = constants[op.inputs[2]].astype(np.float32) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    if op.name == "FULLY_CONNECTED":
        options = _options(op, schema.FullyConnectedOptions)
        x = layers.Flatten(name=f"{name}_flat")(x) if len(x.shape) > 2 and not options.KeepNumDims() else x
        layer, kernel = layers.Dense(len(kernel), use_bias=bias is not None, name=name), kernel.T
    elif op.name == "CONV_2D":
        options, kernel = _options(op, schema.Conv2DOptions), kernel.transpose(1, 2, 3, 0)
        layer = layers.Conv2D(
            kernel.shape[3],
            kernel.shape[:2],
            **_conv(options),
            groups=x.shape[-1] // kernel.shape[2],
            use_bias=bias is not None,
            name=name,
        )
    else:
        options, depth = _options(op, schema.DepthwiseConv2DOptions), x.shape[-1]
        kernel = kernel.reshape(*kernel.shape[1:3], depth, -1)
        layer = layers.DepthwiseConv2D(
            kernel.shape[:2],
            depth_multiplier=kernel.shape[3],
            **_conv(options),
            use_bias=bias is not None,
            name=name,
        )
    y = layer(x)
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return _activated(y, options, name)


def _conv(options) -> dict:
    return {
        "strides": (options.StrideH(), options.StrideW()),
        "padding": _padding(options),
        "dilation_rate": (options.DilationHFactor(), options.DilationWFactor()),
    }


def _arithmetic(op: Operator, name: str, values: dict, constants: dict):
    options = _options(
        op, {"ADD": schema.AddOptions, "MUL": schema.MulOptions, "SUB": schema.SubOptions}[op.name]
    )
    if all(i in values for i in op.inputs):
        kind = {"ADD": layers.Add, "MUL": layers.Multiply, "SUB": layers.Subtract}[op.name]
        return _activated(kind(name=name)([values[i] for i in op.inputs]), options, name)
    place = 0 if op.inputs[0] in values else 1
    x, constant = values[op.inputs[place]], constants[op.inputs[1 - place]].astype(np.float32).ravel()
    channels = x.shape[-1]
    if constant.size not in (1, channels) or len(x.shape) != 4 or (op.name == "SUB" and place == 1):
        raise _Unknown(f"{op.name} with a constant")
    constant = np.broadcast_to(
        constant, channels
    )  # a depthwise 1x1 convolution does the same, and can be folded and quantized
    layer = layers.DepthwiseConv2D(1, name=name)
    y = layer(x)
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    kernel, bias = {"ADD": (one, constant), "SUB": (one, -constant), "MUL": (constant, zero)}[op.name]
    layer.set_weights([kernel.reshape(1, 1, channels, 1), bias])
    return _activated(y, options, name)


def _activated(y, options, name: str):
    kind = options.FusedActivationFunction()
    if kind not in ACTIVATIONS:
        raise _Unknown(f"the fused activation {kind}")
    return y if ACTIVATIONS[kind] is None else layers.Activation(ACTIVATIONS[kind], name=f"{name}_act")(y)


def _padding(options) -> str:
    return "same" if options.Padding() == 0 else "valid"


def _options(op: Operator, kind: type):
    found = kind()
    found.Init(op.options.Bytes, op.options.Pos)
    return found
