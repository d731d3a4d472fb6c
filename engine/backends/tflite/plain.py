"""A converter's operators told as the ones that have most kernels: INT4, INT8, the Edge TPU's."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from engine.backends.tflite.file import TFLite

RELUS = (schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6)
CHANNELS_FIRST = [0, 3, 1, 2]


def plain(file: TFLite) -> dict[int, int]:
    """Rewrites a float file in place; it computes what it did, but that these weight tensors of dense layers
    want their columns channels last: how many positions each reads (`Place.positions`).
    """
    for operator in file.graph.operators:
        op = file.op(operator)
        if op == "DEPTHWISE_CONV_2D":
            _of_one_channel(file, operator)
        elif op == "PADV2":
            _padded_with_least(file, operator)
    return _without_transposes(file)


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


def _without_transposes(file: TFLite) -> dict[int, int]:
    """Takes out transposes to channels first whose readers can do with channels last: a mean over the
    picture, and a flattening that dense layers read. Returns the positions by weight of those.
    """
    flattened: dict[int, int] = {}
    gone = []
    for operator in file.graph.operators:
        if file.op(operator) != "TRANSPOSE" or list(file.values(int(operator.inputs[1]))) != CHANNELS_FIRST:
            continue
        readers, source = _readers(file, int(operator.outputs[0])), int(operator.inputs[0])
        if readers and all(file.op(o) == "MEAN" and not o.builtinOptions.keepDims for o in readers):
            for reader in readers:
                axes = file.values(int(reader.inputs[1])).ravel()
                moved = file.add_like(int(reader.inputs[1]), "_last", file.tensor(int(reader.inputs[1])).type)
                file.store(moved, np.array([CHANNELS_FIRST[int(axis)] for axis in axes], np.int32))
                reader.inputs = np.array([source, moved], np.int32)
        elif len(readers) == 1 and file.op(readers[0]) == "RESHAPE" and (dense := _dense(file, readers[0])):
            _, height, width, _ = map(int, file.tensor(source).shape)
            flattened |= dict.fromkeys(dense, height * width)
            readers[0].inputs = np.array([source, *readers[0].inputs[1:]], np.int32)
        else:
            continue
        gone.append(operator)
    file.graph.operators = [o for o in file.graph.operators if not any(o is each for each in gone)]
    return flattened


def _readers(file: TFLite, index: int) -> list:
    """Returns the operators that read a tensor; none for one that leaves the graph."""
    if index in map(int, file.graph.outputs):
        return []
    return [o for o in file.graph.operators if index in map(int, o.inputs)]


def _dense(file: TFLite, flattening) -> list[int]:
    """Returns the weights of the dense layers that read what is flattened to [1, n]; none where anything else
    does, or a weight has another reader too.
    """
    after = int(flattening.outputs[0])
    readers = _readers(file, after)
    weights = [int(o.inputs[1]) for o in readers if file.op(o) == "FULLY_CONNECTED"]
    plain_ones = len(weights) == len(readers) and len(file.tensor(after).shape) == 2
    alone = all(file.is_constant(w) and len(_readers(file, w)) == 1 for w in weights)
    return weights if plain_ones and alone else []
