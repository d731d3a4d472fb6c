"""An ONNX graph put into the shape that PyTorch's layers have, its scores unchanged.

Exporters write a dense layer as MatMul and Add, a flattening as Reshape to a batch of one, padding as
"auto_pad", a bias as an Add after the convolution. Techniques know layers, so the layers are put together
again.
"""

import math
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript import optimizer

from engine.formats.limits import MAX_VALUES
from engine.formats.onnx.batch import SMALL, free, prime_for, set_batch, shapes_at
from engine.formats.onnx.check import GENERATORS
from engine.formats.onnx.face import Face

MOST_STEPS = 16  # from a count to the numbers to take
COUNTING: dict[str, Callable[..., np.ndarray]] = {
    "Range": lambda start, stop, step: np.arange(start.item(), stop.item(), step.item() or 1),
    "Mul": np.multiply,
    "Add": np.add,
    "Unsqueeze": lambda value, axes: np.expand_dims(value, tuple(axes.reshape(-1).tolist())),
}


def tidy(model: onnx.ModelProto, face: Face) -> onnx.ModelProto:
    """Returns a copy with that one output, a free batch, and plain layers."""
    size = face.image_shape
    fixed = next(v for v in model.graph.input if v.name == face.input).type.tensor_type.shape.dim[0].dim_value
    made = bare(model, face.output)
    prime = prime_for(made, size)
    set_batch(made, size, fixed or prime)
    made = _computed_ahead(made)
    ranks = shapes_at(made, face.input, (fixed or prime, *size))
    graph = made.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _write_paddings_out(graph, ranks)
    _reshape_for_strides(graph, constants, ranks)
    _flatten(graph, constants, ranks, fixed or prime)
    _join_dense(graph, constants, ranks)
    _join_bias(graph, constants)
    free(made, size, fixed or None, prime)
    without_dead_ends(graph, face.output)
    return made


def bare(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """Returns a copy with that one output, and of the rest only what leads to it, its image as only input."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = max(made.ir_version, 8)  # before 4, every weight had to be listed as an input as well
    graph = made.graph
    stored = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in stored]
    del graph.input[:], graph.value_info[:]
    graph.input.extend(kept)
    without_dead_ends(graph, output)
    return made


def without_dead_ends(graph: onnx.GraphProto, output: str) -> None:
    """Keeps that one output, and of nodes and weights only what leads to it."""
    for value in [v for v in graph.output if v.name != output]:
        graph.output.remove(value)
    wanted, kept = {output}, []
    for node in reversed(graph.node):  # a valid graph is sorted: what a node reads stands before it
        if wanted & set(node.output):
            wanted.update(node.input)
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)


def _computed_ahead(model: onnx.ModelProto) -> onnx.ModelProto:
    """Works out what follows from constants and known shapes. The checks before have bounded every value."""
    opened = ir.serde.deserialize_model(model)
    optimizer.fold_constants(
        opened,
        onnx_shape_inference=True,
        input_size_limit=MAX_VALUES,
        output_size_limit=MAX_VALUES,
        should_fold=_should_fold,
    )
    optimizer.remove_unused_nodes(opened)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(opened)
    return ir.serde.serialize_model(opened)


def _should_fold(node: ir.Node) -> bool | None:
    """Keeps what is made as large as the batch; small sizes become numbers whatever they are made with."""
    if node.op_type not in GENERATORS:
        return None
    given = node.inputs[0].const_value if node.inputs[0] is not None else None
    if node.op_type == "ConstantOfShape" and given is not None:
        sizes = given.numpy().reshape(-1).tolist()
    else:
        sizes = list(node.outputs[0].shape or [SMALL + 1])
    small = all(isinstance(size, int) for size in sizes) and math.prod(sizes) <= SMALL
    return small or (None if node.op_type == "Pad" else False)


def _reshape_for_strides(
    graph: onnx.GraphProto, constants: dict[str, np.ndarray], ranks: dict[str, list[int]]
) -> None:
    """Reads a Gather of all numbers in their order, which PyTorch's exporter makes of some views, as the
    reshape that it is: where the numbers to take are counted, nobody knows the shape any more.
    """
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        row = ranks.get(node.input[0], []) if node.op_type == "Gather" else []
        if len(row) != 1:
            continue
        taken = _counted(node.input[1], makers, constants)
        if taken is not None and np.array_equal(taken.reshape(-1), np.arange(row[0])):
            name = f"{node.output[0]}_shape"
            _add(graph, constants, np.array(taken.shape, np.int64), name)
            node.op_type, node.input[1] = "Reshape", name
            del node.attribute[:]


def _counted(
    name: str, makers: dict[str, onnx.NodeProto], constants: dict, steps: int = MOST_STEPS
) -> np.ndarray | None:
    """Returns numbers that are worked out from one count and constants; None for any other."""
    node = makers.get(name)
    if name in constants or node is None or node.op_type not in COUNTING or not steps:
        return constants.get(name)
    unknown = [other for other in node.input if other not in constants]
    if len(unknown) > 1:
        return None
    given = [_counted(other, makers, constants, steps - 1) for other in node.input]
    if any(value is None for value in given):
        return None
    return COUNTING[node.op_type](*given)


def _flatten(
    graph: onnx.GraphProto, constants: dict[str, np.ndarray], ranks: dict[str, list[int]], batch: int
) -> None:
    """Reads a reshape of a picture's channels into one row as what it is."""
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape, given = constants[node.input[1]], ranks.get(node.input[0], [])
        rows = len(shape) == 2 and len(given) == 4 and given[0] == batch and shape[0] in (batch, 0, -1)
        if rows and (shape[1] == math.prod(given[1:]) or (shape[1] == -1 and shape[0] != -1)):
            del node.input[1:], node.attribute[:]
            node.op_type = "Flatten"
            node.attribute.append(helper.make_attribute("axis", 1))


def _join_dense(
    graph: onnx.GraphProto, constants: dict[str, np.ndarray], ranks: dict[str, list[int]]
) -> None:
    """Joins MatMul with a matrix and the Add of a row to one Gemm."""
    for node in list(graph.node):
        if (
            node.op_type != "MatMul"
            or node.input[1] not in constants
            or constants[node.input[1]].ndim != 2
            or len(ranks.get(node.output[0], [])) != 2
        ):
            continue
        node.op_type = "Gemm"
        _take_bias(
            graph, node, constants, len(constants[node.input[1]][0]), lambda bias: bias.size == bias.shape[-1]
        )


def _join_bias(graph: onnx.GraphProto, constants: dict[str, np.ndarray]) -> None:
    """Joins a convolution without bias and the Add of one number a channel."""
    for node in list(graph.node):
        if node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in constants:
            channels = len(constants[node.input[1]])
            _take_bias(
                graph, node, constants, channels, lambda bias: bias.ndim >= 3 and bias.shape[-3] == bias.size
            )


def _take_bias(graph: onnx.GraphProto, node: onnx.NodeProto, constants: dict, width: int, fits) -> None:
    users = [other for other in graph.node if node.output[0] in other.input]
    if (
        len(users) != 1
        or users[0].op_type != "Add"
        or any(node.output[0] == value.name for value in graph.output)
    ):
        return
    names = [name for name in users[0].input if name != node.output[0]]
    bias = constants.get(names[0]) if len(names) == 1 else None
    if bias is None or bias.size != width or not bias.ndim or not fits(bias):
        return
    _add(graph, constants, bias.reshape(-1), name := f"{users[0].output[0]}_bias")
    node.input.append(name)
    node.output[0] = users[0].output[0]
    graph.node.remove(users[0])


def _add(graph: onnx.GraphProto, constants: dict, value: np.ndarray, name: str) -> None:
    constants[name] = value
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def _write_paddings_out(graph: onnx.GraphProto, sides: dict[str, list[int]]) -> None:
    """Replaces auto_pad by the pads that it means; onnx2torch reads no other spelling."""
    weights = {t.name: list(t.dims) for t in graph.initializer}
    for node in graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        auto = given.get("auto_pad", b"NOTSET").decode()
        shape = sides.get(node.input[0], [])[2:] if node.input else []
        kernel = (
            given.get("kernel_shape") or weights.get(node.input[1] if len(node.input) > 1 else "", [])[2:]
        )
        if (
            auto not in ("SAME_UPPER", "SAME_LOWER", "VALID")
            or not kernel
            or (auto != "VALID" and (not shape or 0 in shape))
        ):
            continue
        before, after = [], []
        for side, k, stride, step in zip(
            shape or [0] * len(kernel),
            kernel,
            given.get("strides", [1] * len(kernel)),
            given.get("dilations", [1] * len(kernel)),
            strict=False,
        ):
            total = (
                0
                if auto == "VALID"
                else max((math.ceil(side / stride) - 1) * stride + (k - 1) * step + 1 - side, 0)
            )
            small, large = total // 2, total - total // 2
            before.append(small if auto != "SAME_LOWER" else large)
            after.append(large if auto != "SAME_LOWER" else small)
        for attribute in [a for a in node.attribute if a.name in ("auto_pad", "pads")]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute("pads", before + after))
