"""How large every value of an ONNX graph becomes, worked out before anything runs it.

With the batch at one and open sizes at the image's, each value's shape follows from ONNX's own inference,
helped by the
arithmetic on sizes that exporters leave in a graph. What makes values larger must have a size that is known
and bounded.
"""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from engine.errors import BadInput
from engine.formats.limits import MAX_OUTPUT

MAX_MADE = MAX_OUTPUT  # numbers in all that generators make
MOST_SIZES = 1_024  # numbers in a value that counts as sizes
OPEN_SIDE = 224
ROUNDS = 20
SIZE_ARITHMETIC = {
    "Shape",
    "Gather",
    "Slice",
    "Concat",
    "Unsqueeze",
    "Squeeze",
    "Cast",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Floor",
    "Ceil",
    "ReduceProd",
    "Identity",
    "Min",
    "Max",
    "Where",
    "Equal",
    "Constant",
    "ConstantOfShape",
    "Reshape",
    "Transpose",
    "Range",
}
GROWING = {
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Range",
    "EyeLike",
    "Pad",
    "Resize",
    "Upsample",
    "OneHot",
    "Concat",
    "ConvTranspose",
    "Einsum",
    "MatMul",
    "Gemm",
    "Gather",
    "GatherElements",
    "Conv",
    "Constant",
    "DepthToSpace",
    "Reshape",
}
MADE = {"ConstantOfShape", "Expand", "Tile", "Range", "EyeLike", "OneHot", "Constant"}
ADVICE = (
    "simplify the graph (`python -m onnxsim model.onnx simple.onnx`) or export it again with fixed sizes."
)


def check(model: onnx.ModelProto) -> None:
    """Raises BadInput where a value is absurdly large, or its size can't be told beforehand."""
    graph = _with_shapes(model)
    shapes = _shapes(graph)
    made = 0
    for node in graph.node:
        for name in filter(None, node.output):
            shape = shapes.get(name)
            if shape is None and node.op_type in GROWING:
                raise BadInput(
                    f"The ONNX graph computes the size of what {node.op_type} makes while it runs, which has"
                    f" no bound: {ADVICE}"
                )
            size = math.prod(shape or ())
            made += size if node.op_type in MADE else 0
            if size > MAX_OUTPUT or made > MAX_MADE:
                raise BadInput(
                    f"The ONNX graph makes values of {max(size, made):,} numbers with {node.op_type}, which"
                    f" is absurd for one image: {ADVICE}"
                )


def _with_shapes(model: onnx.ModelProto) -> onnx.GraphProto:
    """Returns the graph of a bare copy, large weights by their shape alone, with all shapes that can be
    worked out.
    """
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 8))
    bare.opset_import.extend(model.opset_import)
    graph, constants = bare.graph, {}
    graph.node.extend(model.graph.node)
    graph.name = "sizes"
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= MOST_SIZES:
            graph.initializer.add().CopyFrom(tensor)
            constants[tensor.name] = numpy_helper.to_array(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in stored:
            graph.input.add().CopyFrom(value)
            for place, dim in enumerate(graph.input[-1].type.tensor_type.shape.dim):
                if dim.dim_value <= 0:
                    dim.dim_value = 1 if place == 0 else OPEN_SIDE
    for value in model.graph.output:  # what a file says of the shapes of its values is not believed
        graph.output.append(
            onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
        )
    for _ in range(ROUNDS):
        bare = onnx.shape_inference.infer_shapes(bare, data_prop=True)
        if not _compute_sizes(bare, constants):
            break
    return bare.graph


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return found


def _compute_sizes(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> int:
    """Replaces nodes that compute small sizes from known ones by stored values; returns how many."""
    graph, shapes = model.graph, _shapes(model.graph)
    kept, found = [], 0
    for node in graph.node:
        value = (
            _size(node, constants, shapes, model.opset_import)
            if node.op_type in SIZE_ARITHMETIC and len(node.output) == 1
            else None
        )
        if value is None or value.size > MOST_SIZES:
            kept.append(node)
            continue
        constants[node.output[0]] = value
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        found += 1
    del graph.node[:]
    graph.node.extend(kept)
    return found


def _size(node: onnx.NodeProto, constants: dict, shapes: dict, opsets) -> np.ndarray | None:
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Shape":
        shape = shapes.get(node.input[0])
        return None if shape is None else np.array(shape[given.get("start", 0) : given.get("end")], np.int64)
    if any(name and name not in constants for name in node.input):
        return None
    values = {name: constants[name] for name in node.input if name}
    if (
        node.op_type == "ConstantOfShape"
        and np.prod(np.abs(values[node.input[0]].astype(float))) > MOST_SIZES
    ):
        return None
    if node.op_type == "Range":
        start, stop, step = (float(values[name]) for name in node.input)
        if not step or not abs(stop - start) / abs(step) <= MOST_SIZES:
            return None
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in values.items()
    ]
    alone = helper.make_model(
        helper.make_graph([node], "one", inputs, [helper.make_tensor_value_info(node.output[0], 0, None)]),
        opset_imports=opsets,
    )
    try:
        return np.asarray(ReferenceEvaluator(alone).run(None, values)[0])
    except Exception:  # what can't be computed stays in the graph, and its size unknown
        return None
