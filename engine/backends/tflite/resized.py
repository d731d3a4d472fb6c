"""A file for the same network with other widths: pruned channels change shapes and nothing else, so it need
not be converted again.
"""

from collections.abc import Callable

import numpy as np

from engine.backends.tflite.file import TFLite
from engine.errors import EdgewiseError

Shape = tuple[int, ...]
OF_THEIR_OPERANDS = {  # elementwise: as wide as what they read
    *("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "RELU", "RELU6", "LEAKY_RELU", "PRELU", "ELU", "GELU"),
    *("HARD_SWISH", "LOGISTIC", "TANH", "SOFTMAX"),
}
REDUCING = {"MEAN", "SUM", "REDUCE_MAX"}


def resize(file: TFLite) -> None:
    """States every activation's shape anew, once the weights of other widths are stored, one image at a time.

    Raises EdgewiseError where an operator's shape does not follow from what it reads.
    """
    for operator in file.graph.operators:
        index = int(operator.outputs[0])
        before = _shape(file, index)
        after = _output(file, operator, before)
        if after != before:
            if len(operator.outputs) > 1:
                raise EdgewiseError(f"it has several outputs of other widths ({file.op(operator)})")
            file.tensor(index).shape = np.array(after, np.int32)
            file.tensor(index).shapeSignature = None


def _shape(file: TFLite, index: int) -> Shape:
    return tuple(map(int, file.tensor(index).shape))


def _output(file: TFLite, operator, before: Shape) -> Shape:
    op = file.op(operator)
    read = [_shape(file, int(i)) for i in operator.inputs if i >= 0]
    if op in ("CONV_2D", "FULLY_CONNECTED"):
        return (*before[:-1], read[1][0])
    if op == "DEPTHWISE_CONV_2D":
        return (*before[:-1], read[1][-1])
    if op in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        return (*before[:-1], read[0][-1])
    if op in OF_THEIR_OPERANDS:
        return tuple(int(n) for n in np.broadcast_shapes(*read))
    if op in REDUCING:
        return _reduced(read[0], file.values(int(operator.inputs[1])), operator.builtinOptions.keepDims)
    if op in MOVING:
        return MOVING[op](file, operator, read, before)
    raise EdgewiseError(f"how wide {op} gets is not known")


def _reduced(shape: Shape, axes: np.ndarray, kept: bool) -> Shape:
    gone = {int(axis) % len(shape) for axis in axes.ravel()}
    return tuple(1 if i in gone else n for i, n in enumerate(shape) if kept or i not in gone)


def _padded(file: TFLite, operator, read: list[Shape], before: Shape) -> Shape:
    return tuple(
        n + int(sum(pair)) for n, pair in zip(read[0], file.values(int(operator.inputs[1])), strict=True)
    )


def _transposed(file: TFLite, operator, read: list[Shape], before: Shape) -> Shape:
    return tuple(read[0][int(axis)] for axis in file.values(int(operator.inputs[1])))


def _joined(file: TFLite, operator, read: list[Shape], before: Shape) -> Shape:
    axis = operator.builtinOptions.axis % len(before)
    return tuple(sum(shape[i] for shape in read) if i == axis else n for i, n in enumerate(read[0]))


def _reshaped(file: TFLite, operator, read: list[Shape], before: Shape) -> Shape:
    """Flattens as many as there are now; which of several axes would change can't be told."""
    count, wide = int(np.prod(read[0])), [i for i, n in enumerate(before) if n > 1]
    if count == np.prod(before):
        return before
    if len(wide) != 1 or len(operator.inputs) < 2:
        raise EdgewiseError("a reshape of other widths can't be told")
    after = tuple(count if i == wide[0] else n for i, n in enumerate(before))
    target = file.add_like(int(operator.inputs[1]), "_resized", file.tensor(int(operator.inputs[1])).type)
    file.store(target, np.array([-1, *after[1:]] if wide[0] else after, np.int32))
    operator.inputs = np.array([operator.inputs[0], target], np.int32)
    if operator.builtinOptions is not None:
        operator.builtinOptions.newShape = file.values(target)
    return after


MOVING: dict[str, Callable[..., Shape]] = {
    "PAD": _padded,
    "PADV2": _padded,
    "TRANSPOSE": _transposed,
    "CONCATENATION": _joined,
    "RESHAPE": _reshaped,
}
