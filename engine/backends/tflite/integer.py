"""Full INT8 TFLite files, written from the float one: every operator that has integer kernels computes in
integers.

Rules: the LiteRT 8-bit quantization specification. Weights symmetric per channel, biases INT32 with the
    product of the
scales of input and weight, activations per tensor with a zero point. Operators that only move numbers keep
one scale.
"""

import numpy as np

from engine.backends.grid import Grid
from engine.backends.protocol import QuantSpec
from engine.backends.tflite.exported import Exported
from engine.backends.tflite.file import FLOAT, INT8, INT8_VERSIONS, INT32, LAYER_OPS, TFLite
from engine.backends.tflite.quantize import in_tflite_order, int8_codes

ONE_SCALE = {
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "RESHAPE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "CONCATENATION",
    "PAD",
    "TRANSPOSE",
    "SLICE",
    "STRIDED_SLICE",
    "GATHER",
    "SPLIT",
    "PACK",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "MAXIMUM",
    "MINIMUM",
    "REDUCE_MAX",
    "MIRROR_PAD",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
}
OWN_SCALE = {
    *LAYER_OPS,
    "ADD",
    "SUB",
    "MUL",
    "MEAN",
    "SUM",
    "RELU",
    "RELU6",
    "LEAKY_RELU",
    "PRELU",
    "HARD_SWISH",
    "ELU",
    "GELU",
}
FIXED = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
INTEGER = ONE_SCALE | OWN_SCALE | set(FIXED)
REDUCED = 63  # the largest code of 7-bit weights
MOST_BIAS = 2**30


def to_integer(exported: Exported, spec: QuantSpec, ranges: dict[int, tuple[float, float]]) -> None:
    """Rewrites the file in place; operators without integer kernels stay in float between QUANTIZE and
    DEQUANTIZE.

    ranges: (low, high) by tensor; those that `spec.activations` fixes are replaced.
    """
    file = exported.file
    layers = {p.operator: (name, p) for name, p in (*exported.affine.items(), *exported.places.items())}
    kept = {place.operator for name, place in exported.places.items() if name in spec.floats}
    integer = {
        n
        for n, o in enumerate(file.graph.operators)
        if n not in kept and file.op(o) in INTEGER and _can(file, o)
    }
    ranges = dict(ranges)
    for name, limits in spec.activations.items():
        if name in exported.places:
            ranges[int(file.graph.operators[exported.places[name].operator].inputs[0])] = limits
    _Activations(file, integer, ranges).state()
    for number in sorted(integer):
        operator = file.graph.operators[number]
        _constants(file, operator, *layers.get(number, ("", None)), spec)
        file.set_version(operator, INT8_VERSIONS.get(file.op(operator), 1))
    bridge(file, integer)


def _is_activation(file: TFLite, index: int) -> bool:
    return index >= 0 and not file.is_constant(index) and file.tensor(index).type in (FLOAT, INT8)


def _can(file: TFLite, operator) -> bool:
    """Operators with integer kernels may still be fed what these don't take: weights that are computed."""
    op = file.op(operator)
    if op in LAYER_OPS:
        return file.is_constant(int(operator.inputs[1]))
    return any(_is_activation(file, int(i)) for i in operator.inputs)


class _Activations:
    """Gives every activation that an integer operator touches its scale and zero point."""

    def __init__(self, file: TFLite, integer: set[int], ranges: dict[int, tuple[float, float]]):
        self.file, self.ranges, self.parent = file, ranges, {}
        self.fixed: dict[int, tuple[float, int]] = {}
        self.touched: dict[int, None] = {}
        for number in sorted(integer):
            operator = file.graph.operators[number]
            op = file.op(operator)
            moved = [int(i) for i in (*operator.inputs, *operator.outputs) if _is_activation(file, int(i))]
            self.touched.update(dict.fromkeys(moved))
            if op in ONE_SCALE:
                for other in moved[1:]:
                    self.parent[self._root(other)] = self._root(moved[0])
        for number in sorted(integer):
            operator = file.graph.operators[number]
            if file.op(operator) in FIXED:
                self.fixed[self._root(int(operator.outputs[0]))] = FIXED[file.op(operator)]

    def _root(self, index: int) -> int:
        while self.parent.get(index, index) != index:
            index = self.parent[index]
        return index

    def state(self) -> None:
        """Turns the touched activations into INT8 tensors."""
        limits: dict[int, tuple[float, float]] = {}
        for index in self.touched:
            low, high = self.ranges.get(index, (0.0, 0.0))
            before = limits.get(self._root(index), (0.0, 0.0))  # zero always has a code
            limits[self._root(index)] = (min(low, before[0]), max(high, before[1]))
        for index in self.touched:
            root = self._root(index)
            scale, zero = self.fixed.get(root) or scale_and_zero(*limits[root])
            self.file.tensor(index).type = INT8
            self.file.quantize_record(index, [scale], [zero])


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Returns scale and zero point of an INT8 tensor that holds `low` … `high`, zero included."""
    scale = max(high - low, 1e-6) / 255
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def _constants(file: TFLite, operator, name: str, place, spec: QuantSpec) -> None:
    """Rounds an operator's stored numbers."""
    op = file.op(operator)
    if op in LAYER_OPS:
        _layer(file, operator, 3 if op == "DEPTHWISE_CONV_2D" else 0, spec, spec.grids.get(name), place)
        return
    for slot, index in enumerate(map(int, operator.inputs)):
        if index >= 0 and file.is_constant(index) and file.tensor(index).type == FLOAT:
            values = file.values(index)
            scale, zero = scale_and_zero(min(0.0, float(values.min())), max(0.0, float(values.max())))
            copy = file.add_like(index, "_int8", INT8)
            file.store(copy, np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8))
            file.quantize_record(copy, [scale], [zero])
            operator.inputs[slot] = copy


def _layer(file: TFLite, operator, axis: int, spec: QuantSpec, grid: Grid | None, place) -> None:
    weight, bias = int(operator.inputs[1]), int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
    codes, scales = _weight_codes(file.values(weight), axis, spec, grid, place)
    input_scale, _ = file.scale_of(int(operator.inputs[0]))
    numbers = file.values(bias).astype(np.float64) if bias >= 0 else np.zeros(len(scales))
    least = np.abs(numbers) / (input_scale * MOST_BIAS)
    if (small := scales < least).any():  # a channel of almost nothing but its bias: the bias must fit 32 bits
        wider = np.where(small, least, scales)
        ratio = (scales / wider).reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
        codes, scales = np.rint(codes * ratio).astype(np.int8), wider.astype(np.float32)
    copy = file.add_like(weight, "_int8", INT8)
    file.store(copy, codes)
    file.quantize_record(copy, scales, np.zeros(len(scales)), axis)
    operator.inputs[1] = copy
    if bias >= 0:
        bias_scales = (scales * np.float64(input_scale)).astype(np.float32)
        copy = file.add_like(bias, "_int32", INT32)
        file.store(copy, np.clip(np.rint(numbers / bias_scales), -(2**31), 2**31 - 1).astype(np.int32))
        file.quantize_record(copy, bias_scales, np.zeros(len(scales)))
        operator.inputs[2] = copy


def _weight_codes(
    values: np.ndarray, axis: int, spec: QuantSpec, grid: Grid | None, place
) -> tuple[np.ndarray, np.ndarray]:
    if grid is not None:
        return in_tflite_order(grid, place)[0], grid.scales.astype(np.float32)
    codes, scales = int8_codes(values, axis)
    if spec.reduced_range:
        scales = scales * np.float32(127 / REDUCED)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        codes = np.clip(np.rint(values / scales.reshape(shape)), -REDUCED, REDUCED).astype(np.int8)
    return codes, scales


def takes_integers(file: TFLite) -> bool:
    """Tells whether a file's input is INT8."""
    return file.tensor(int(file.graph.inputs[0])).type == INT8


def bridge(file: TFLite, integer: set[int], float_io: bool = False) -> None:
    """Puts QUANTIZE and DEQUANTIZE where integer and float operators meet, and at both ends with
    `float_io`.
    """
    graph, old = file.graph, list(file.graph.operators)
    floats: dict[int, int] = {}

    def as_float(index: int) -> int:
        if index not in floats:
            floats[index] = file.add_like(index, "_float", FLOAT)
        return floats[index]

    result, widened = [], set()
    if float_io:
        for slot, index in enumerate(map(int, graph.inputs)):
            if file.tensor(index).type == INT8:
                result.append(file.make_operator("QUANTIZE", [as_float(index)], [index]))
                widened.add(index)
                graph.inputs[slot] = floats[index]
    for number, operator in enumerate(old):
        if number not in integer:
            for slot, index in enumerate(map(int, operator.inputs)):
                if index >= 0 and file.tensor(index).type == INT8 and not file.is_constant(index):
                    operator.inputs[slot] = as_float(index)
                    if index not in widened:
                        widened.add(index)
                        result.append(file.make_operator("DEQUANTIZE", [index], [floats[index]], 2))
        result.append(operator)
        if number not in integer:
            for slot, index in enumerate(map(int, operator.outputs)):
                if file.tensor(index).type == INT8:
                    operator.outputs[slot] = as_float(index)
                    widened.add(index)
                    result.append(file.make_operator("QUANTIZE", [floats[index]], [index]))
    if float_io:
        for slot, index in enumerate(map(int, graph.outputs)):
            if file.tensor(index).type == INT8:
                if index not in widened:
                    result.append(file.make_operator("DEQUANTIZE", [index], [as_float(index)], 2))
                graph.outputs[slot] = floats[index]
    graph.operators = result
