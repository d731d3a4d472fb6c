"""A converter's operators told as the ones that have most kernels: INT4, INT8, the Edge TPU's."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from engine.backends.tflite.file import TFLite

RELUS = (schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6)


def plain(file: TFLite) -> None:
    """Rewrites a float file in place; it computes what it did."""
    for operator in file.graph.operators:
        op = file.op(operator)
        if op == "DEPTHWISE_CONV_2D":
            _of_one_channel(file, operator)
        elif op == "PADV2":
            _padded_with_least(file, operator)


def _of_one_channel(file: TFLite, operator) -> None:
    """Makes a convolution again of what was one, over a single channel: depthwise ones have no INT4."""
    weight = int(operator.inputs[1])
    if int(file.tensor(int(operator.inputs[0])).shape[-1]) != 1 or not file.is_constant(weight):
        return
    values, old, options = file.values(weight), operator.builtinOptions, schema.Conv2DOptionsT()
    for name in vars(options):
        if hasattr(old, name):
            setattr(options, name, getattr(old, name))
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    operator.opcodeIndex = file.make_operator("CONV_2D", [], []).opcodeIndex
    file.store(weight, np.ascontiguousarray(values.transpose(3, 1, 2, 0)))
    file.tensor(weight).shape = np.array(values.shape, np.int32)[[3, 1, 2, 0]]


def _padded_with_least(file: TFLite, operator) -> None:
    """Pads with zeros in front of a maximum where what is padded is never negative."""
    source, value = int(operator.inputs[0]), int(operator.inputs[2])
    makers = [o for o in file.graph.operators if source in map(int, o.outputs)]
    readers = [o for o in file.graph.operators if int(operator.outputs[0]) in map(int, o.inputs)]
    never_negative = all(
        file.op(o).startswith("RELU") or getattr(o.builtinOptions, "fusedActivationFunction", None) in RELUS
        for o in makers
    )
    least = file.is_constant(value) and float(file.values(value).max()) < -1e30
    if makers and never_negative and least and all(file.op(o) == "MAX_POOL_2D" for o in readers):
        operator.inputs = np.array(operator.inputs[:2], np.int32)
        operator.builtinOptionsType = schema.BuiltinOptions.PadOptions
        operator.builtinOptions = schema.PadOptionsT()
        operator.opcodeIndex = file.make_operator("PAD", [], []).opcodeIndex
