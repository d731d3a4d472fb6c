"""ONNX: checked as a graph before any runtime sees it, opened through onnx2torch where that works.

Any opset from 7, channels first or last, fixed or free batch, several outputs. Runs behind the wall.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import BadInput, shortened
from engine.formats.limits import MAX_VALUES
from engine.formats.onnx import bounds as onnx_bounds

MAX_NODES = 20_000
MAX_SIDE = 4096
LIMIT = 30_000_000  # values of one tensor that a generator may make: 120 MB
ADVICE = (
    "export the classifier again with `torch.onnx.export(model.eval(), example, 'model.onnx',"
    " external_data=False)`."
)
GENERATORS = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "Tile": 1,
    "Range": 1,
    "EyeLike": 0,
    "Pad": 1,
    "Resize": 3,
    "Upsample": 1,
    "OneHot": 1,
    "AffineGrid": 1,
}
COUNTS = ("group", "strides", "dilations", "kernel_shape", "blocksize", "num_outputs", "num_groups", "size")
OPERATORS = set(
    """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DepthToSpace
DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor
Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max
MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv
QLinearMatMul QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
RotaryEmbedding Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile Transpose
Trilu Unsqueeze Upsample Where Xor
""".split()
)
TEXT_OPERATORS = {
    "LSTM",
    "GRU",
    "RNN",
    "StringNormalizer",
    "TfIdfVectorizer",
    "Tokenizer",
    "EmbedLayerNormalization",
}
BOX_OPERATORS = {"NonMaxSuppression", "RoiAlign", "MaxRoiPool", "TopK", "NonZero", "Loop"}
SOUND_OPERATORS = {"STFT", "DFT", "MelWeightMatrix"}


def check(path: Path) -> None:
    """Parses the bytes and checks tensors, nodes, generators and shapes. Raises BadInput."""
    model = parse(path)
    graph = model.graph
    if model.functions:
        raise BadInput(
            "The ONNX file defines functions of its own, which can unfold without bound: inline them with "
            "`onnx.inliner.inline_local_functions(model)` and save it again."
        )
    if model.training_info:
        raise BadInput(f"The ONNX file holds a training graph: {ADVICE}")
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not 7 <= opset <= onnx.defs.onnx_opset_version():
        raise BadInput(
            f"The ONNX file is of opset {opset}, and opsets 7 to {onnx.defs.onnx_opset_version()} are taken:"
            f" {ADVICE}"
        )
    if not graph.node or len(graph.node) > MAX_NODES:
        raise BadInput(
            f"The ONNX graph has {len(graph.node):,} nodes; 1 to {MAX_NODES:,} are taken: {ADVICE}"
        )
    if graph.sparse_initializer or any(
        a.HasField("sparse_tensor") or a.sparse_tensors for node in graph.node for a in node.attribute
    ):
        raise BadInput(
            "The ONNX file holds sparse tensors, which can unfold without bound: store them densely, or"
            f" {ADVICE}"
        )
    _check_tensors(model)
    constants = _constants(graph)
    for node in graph.node:
        _check_node(node, constants)
    _check_values(graph)
    _check_whole(model)


def parse(path: Path) -> onnx.ModelProto:
    """Returns the parsed file; nothing outside it is read. Raises BadInput."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's own error classes differ by build
        raise BadInput(f"The ONNX file can't be parsed ({type(error).__name__}): {ADVICE}") from None
    if not model.HasField("graph"):
        raise BadInput(f"The ONNX file holds no graph: {ADVICE}")
    return model


def tensors_of(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yields every stored tensor of a graph, those in its nodes' attributes too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensors(model: onnx.ModelProto) -> None:
    total = 0
    for tensor in tensors_of(model.graph):
        name = tensor.name[:60]
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise BadInput(
                f"The tensor '{name}' lies outside the ONNX file, which could name any file of this machine: "
                "save the model in one file with `onnx.save(onnx.load('model.onnx'), 'one.onnx')`."
            )
        if any(size < 0 or size > 2**31 for size in tensor.dims) or len(tensor.dims) > 8:
            raise BadInput(f"The tensor '{name}' of the ONNX file has an impossible shape: {ADVICE}")
        total += math.prod(tensor.dims)
        if total > MAX_VALUES:
            raise BadInput(
                f"The ONNX file holds more than {MAX_VALUES / 1e6:.0f} million values, more than an edge"
                " device's classifier can have: choose a smaller model."
            )
        if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
            raise BadInput(f"The tensor '{name}' of the ONNX file holds no numbers: {ADVICE}")
        try:
            array = numpy_helper.to_array(tensor)
        except Exception:
            raise BadInput(
                f"The tensor '{name}' of the ONNX file has other values than its shape says: {ADVICE}"
            ) from None
        if array.dtype.kind == "f" and not np.isfinite(array).all() and array.size > 64:
            raise BadInput(f"The tensor '{name}' of the ONNX file holds values that are not finite: {ADVICE}")


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    found = {t.name: numpy_helper.to_array(t) for t in graph.initializer if math.prod(t.dims) <= 4096}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    found[node.output[0]] = numpy_helper.to_array(attribute.t)
                elif attribute.name in ("value_ints", "value_int"):
                    found[node.output[0]] = np.array(helper.get_attribute_value(attribute))
    return found


def _check_node(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise BadInput(
            f"The ONNX graph uses the operator {node.domain[:40]}.{node.op_type[:40]}, which is not one of"
            f" ONNX's own: {ADVICE}"
        )
    for operators, kind in (
        (TEXT_OPERATORS, "text or series"),
        (BOX_OPERATORS, "object detection, or a program with loops"),
        (SOUND_OPERATORS, "sound"),
    ):
        if node.op_type in operators:
            raise BadInput(
                f"The ONNX graph uses {node.op_type}, as networks for {kind} do, and Edgewise fits image "
                "classifiers: it can only be estimated."
            )
    if node.op_type not in OPERATORS or any(a.HasField("g") or a.graphs for a in node.attribute):
        raise BadInput(
            f"The ONNX graph uses the operator {node.op_type[:40]}, which is not one of those that Edgewise"
            f" runs: simplify the graph (`python -m onnxsim model.onnx simple.onnx`), or {ADVICE}"
        )
    for attribute in node.attribute:
        if attribute.name in COUNTS and any(
            value < 1
            for value in (*attribute.ints, *([attribute.i] if attribute.type == attribute.INT else []))
        ):
            raise BadInput(
                f"The ONNX graph gives {node.op_type} a {attribute.name} of less than one, which nothing can"
                f" run: {ADVICE}"
            )
    place = GENERATORS.get(node.op_type)
    if place is None:
        return
    given = constants.get(node.input[place]) if place < len(node.input) else None
    if given is not None and given.dtype.kind in "iuf" and given.size:
        made = np.abs(given.astype(np.float64))
        product = float(
            made.max() if node.op_type in ("Range", "Pad", "OneHot") else np.prod(np.maximum(made, 1))
        )
        if product > (LIMIT if node.op_type != "Pad" else MAX_SIDE):
            raise BadInput(
                f"The ONNX graph makes a tensor of {product:,.0f} values with {node.op_type}: {ADVICE}"
            )
    for attribute in node.attribute:
        if attribute.name in ("pads", "repeats", "scales") and any(
            abs(v) > MAX_SIDE for v in (*attribute.ints, *attribute.floats)
        ):
            raise BadInput(f"The ONNX graph enlarges a tensor without measure with {node.op_type}: {ADVICE}")


def _check_values(graph: onnx.GraphProto) -> None:
    stored = {tensor.name for tensor in graph.initializer}  # exporters list weights among the values too
    for value in (*graph.input, *graph.output, *graph.value_info):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        most = MAX_VALUES if value.name in stored else 2 * LIMIT
        if any(size < 0 for size in sizes) or math.prod(max(size, 1) for size in sizes) > most:
            raise BadInput(
                f"The value '{value.name[:60]}' of the ONNX graph has the absurd shape {sizes[:8]}: {ADVICE}"
            )


def _check_whole(model: onnx.ModelProto) -> None:
    for value in model.graph.output:  # a missing shape follows from the rest, and runtimes don't ask for it
        value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
        onnx_bounds.check(model)
    except BadInput:
        raise
    except Exception as error:  # its error classes are not exported by every version
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise BadInput(f"The ONNX graph is not valid ({shortened(reason, 120)}): {ADVICE}") from None
