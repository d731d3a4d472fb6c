"""How large every value of an ONNX graph becomes, worked out before anything runs it.

With the batch at one and open sizes at the image's, each value's shape follows from ONNX's own inference,
helped by the arithmetic on sizes that exporters leave in a graph. What makes values larger must have a size
that is known and bounded.
"""

import math

import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnxscript import optimizer

from engine.errors import BadInput
from engine.formats.limits import MAX_OUTPUT

MAX_MADE = MAX_OUTPUT  # numbers in all that generators make
LONGEST_RANGE = 1_000_000  # numbers that a Range may count
MOST_SIZES = 1_024  # numbers in a value that counts as sizes
OPEN_SIDES = (224, 32, 28, 64, 96, 128, 299, 384)  # an image's, where the file leaves it open
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
    "AffineGrid",
    "GridSample",
    "Attention",
    "Concat",
    "ConvTranspose",
    "Einsum",
    "MatMul",
    "Gemm",
    "Gather",
    "GatherElements",
    "GatherND",
    "Conv",
    "Constant",
    "DepthToSpace",
    "Reshape",
}
MADE = {"ConstantOfShape", "Expand", "Tile", "Range", "EyeLike", "OneHot", "AffineGrid", "Constant"}
ADVICE = (
    "simplify the graph (`python -m onnxsim model.onnx simple.onnx`) or export it again with fixed sizes."
)


def check(model: onnx.ModelProto) -> None:
    """Raises BadInput where a value is absurdly large, or its size can't be told beforehand.

    An image of open size is taken as 224x224, or as the first usual one from which all sizes follow.
    """
    unknown = [_unknown(_with_shapes(model, OPEN_SIDES[0]))]
    stored = {tensor.name for tensor in model.graph.initializer}
    sides = [v.type.tensor_type.shape.dim[2:4] for v in model.graph.input if v.name not in stored]
    if unknown[0] and any(dim.dim_value <= 0 for dims in sides for dim in dims):
        unknown += [_unknown(_with_shapes(model, side)) for side in OPEN_SIDES[1:]]
    if all(unknown):
        raise BadInput(
            f"The ONNX graph computes the size of what {unknown[0]} makes while it runs, which has"
            f" no bound: {ADVICE}"
        )


def _unknown(graph: onnx.GraphProto) -> str:
    """Returns the first operator whose result's size can't be told, or "". Raises BadInput where one is
    absurd.
    """
    shapes = _shapes(graph)
    made = 0
    for node in graph.node:
        for name in filter(None, node.output):
            shape = shapes.get(name)
            if shape is None and node.op_type in GROWING:
                return node.op_type
            size = max(math.prod(shape or ()), _weighed(node, shapes))
            made += size if node.op_type in MADE else 0
            if size > MAX_OUTPUT or made > MAX_MADE:
                raise BadInput(
                    f"The ONNX graph makes values of {max(size, made):,} numbers with {node.op_type}, which"
                    f" is absurd for one image: {ADVICE}"
                )
    return ""


def _weighed(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Returns how many numbers weigh places by places inside an Attention, which no output shows."""
    if node.op_type != "Attention":
        return 0
    queries, keys = (shapes.get(name, (MAX_OUTPUT, MAX_OUTPUT)) for name in node.input[:2])
    heads = next((a.i for a in node.attribute if a.name == "q_num_heads"), 1)
    return math.prod(queries[:-1]) * keys[-2] * max(heads, 1)


def _with_shapes(model: onnx.ModelProto, side: int) -> onnx.GraphProto:
    """Returns the graph of a bare copy, large weights by their shape alone, with all shapes that can be
    worked out.
    """
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 8))
    bare.opset_import.extend(model.opset_import)
    graph = bare.graph
    graph.node.extend(model.graph.node)
    graph.name = "sizes"
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= MOST_SIZES:
            graph.initializer.add().CopyFrom(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in stored:
            graph.input.add().CopyFrom(value)
            for place, dim in enumerate(graph.input[-1].type.tensor_type.shape.dim):
                if dim.dim_value <= 0:
                    dim.dim_value = 1 if place == 0 else side
    for value in model.graph.output:  # what a file says of the shapes of its values is not believed
        graph.output.append(
            onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
        )
    opened = ir.serde.deserialize_model(bare)
    optimizer.fold_constants(opened, onnx_shape_inference=True, should_fold=_is_size)
    folded = ir.serde.serialize_model(opened)
    _check_ranges(folded.graph)
    return onnx.shape_inference.infer_shapes(folded, data_prop=True).graph


def _check_ranges(graph: onnx.GraphProto) -> None:
    """Shape inference writes the numbers of a Range out, so a long one must not reach it."""
    known = {
        tensor.name: float(numpy_helper.to_array(tensor).reshape(-1)[0])
        for tensor in graph.initializer
        if math.prod(tensor.dims) == 1 and tensor.data_type != onnx.TensorProto.STRING
    }
    for node in graph.node:
        if node.op_type == "Range" and all(name in known for name in node.input):
            start, stop, step = (known[name] for name in node.input)
            if not step or not abs(stop - start) / abs(step) <= LONGEST_RANGE:
                raise BadInput(
                    f"The ONNX graph counts from {start:,.0f} to {stop:,.0f} with Range, which is absurd for"
                    f" one image: {ADVICE}"
                )


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return found


def _is_size(node: ir.Node) -> bool:
    """Tells whether a node computes a small size from small ones; nothing else is worked out beforehand."""
    values = [value.const_value for value in node.inputs if value is not None]
    if node.op_type not in SIZE_ARITHMETIC or any(v is None or v.size > MOST_SIZES for v in values):
        return False
    if node.op_type == "ConstantOfShape":
        return math.prod(abs(int(v)) for v in values[0].numpy().reshape(-1)) <= MOST_SIZES
    if node.op_type == "Range":
        start, stop, step = (float(value.numpy().reshape(-1)[0]) for value in values)
        return bool(step) and abs(stop - start) / abs(step) <= MOST_SIZES
    return True
