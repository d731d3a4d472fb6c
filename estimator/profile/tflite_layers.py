"""Which layers a TFLite graph holds and what each costs; works on the parsed schema objects it is handed.

Operator semantics: the TFLite schema and its operator reference (weights as [out, height, width, in]).
"""

from math import prod
from typing import Any

import numpy as np

from estimator.profile.plain_graph import Graph, Operator, ProfileError, Tensor
from estimator.types import Layer, LayerKind, Precision

VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D"}
KINDS: dict[str, LayerKind] = {
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "REDUCE_MAX", "L2_POOL_2D"), "pool"),
    **dict.fromkeys(
        ("ADD", "SUB", "MUL", "DIV", "ADD_N", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW"),
        "elementwise",
    ),
    **dict.fromkeys(("LOCAL_RESPONSE_NORMALIZATION", "L2_NORMALIZATION", "RSQRT"), "norm"),
    **dict.fromkeys(
        (
            "RELU",
            "RELU6",
            "RELU_N1_TO_1",
            "LOGISTIC",
            "HARD_SWISH",
            "TANH",
            "LEAKY_RELU",
            "PRELU",
            "SOFTMAX",
            "LOG_SOFTMAX",
            "ELU",
            "GELU",
            "EXP",
            "SQRT",
        ),
        "activation",
    ),
    **dict.fromkeys(
        (
            "RESHAPE",
            "SQUEEZE",
            "EXPAND_DIMS",
            "TRANSPOSE",
            "CONCATENATION",
            "SPLIT",
            "SLICE",
            "STRIDED_SLICE",
            "GATHER",
            "PAD",
            "PADV2",
            "MIRROR_PAD",
            "TILE",
            "PACK",
            "UNPACK",
            "SHAPE",
            "RESIZE_BILINEAR",
            "RESIZE_NEAREST_NEIGHBOR",
            "DEPTH_TO_SPACE",
            "SPACE_TO_DEPTH",
            "CAST",
            "BROADCAST_TO",
        ),
        "shape",
    ),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT"), "quantize"),
}


def plain(model: Any, schema: Any) -> Graph:
    """Turns the first subgraph of a parsed model (`schema.ModelT`) into plain data."""
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    subgraph = model.subgraphs[0]
    tensors = {
        str(i): _tensor(str(i), tensor, model.buffers[tensor.buffer].data, schema.TensorType)
        for i, tensor in enumerate(subgraph.tensors)
    }
    operators = []
    for number, operator in enumerate(subgraph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        op = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
        if op == "CUSTOM":
            op = code.customCode.decode() if isinstance(code.customCode, bytes) else str(code.customCode)
        options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
        operators.append(
            Operator(f"{op}_{number}", op, _names(operator.inputs), _names(operator.outputs), options)
        )
    return Graph(operators, tensors, _names(subgraph.inputs), _names(subgraph.outputs))


def _names(indices: Any) -> tuple[str, ...]:
    return tuple(str(i) if i >= 0 else "" for i in (indices if indices is not None else ()))


def _tensor(name: str, tensor: Any, data: Any, types: Any) -> Tensor:
    shape = tuple(int(n) for n in tensor.shape) if tensor.shape is not None else ()
    widths: dict[int, tuple[Precision, int]] = {
        types.FLOAT16: ("float16", 16),
        types.INT8: ("int8", 8),
        types.UINT8: ("int8", 8),
        types.BOOL: ("int8", 8),
        types.INT16: ("float16", 16),
        types.INT4: ("int4", 4),
        types.INT64: ("float32", 64),
        types.FLOAT64: ("float32", 64),
    }
    precision, bits = widths.get(tensor.type, ("float32", 32))
    constant = data is not None and len(data) > 0
    quantized = tensor.quantization is not None and tensor.quantization.scale is not None
    learned = constant and (quantized or tensor.type in (types.FLOAT32, types.FLOAT16))
    nonzero = _nonzero(np.asarray(data, np.uint8), tensor, bits, prod(shape)) if constant else None
    return Tensor(name, shape, precision, bits, constant, learned, nonzero)


def _nonzero(data: np.ndarray, tensor: Any, bits: int, elements: int) -> int:
    """Counts numbers whose stored code is not the zero point; INT4 codes lie low nibble first."""
    points = tensor.quantization.zeroPoint if tensor.quantization is not None else None
    zero = int(points[0]) if points is not None and len(points) else 0
    if bits == 4:
        codes = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[:elements]
        return int(np.count_nonzero(codes != (zero & 15)))
    if bits == 8:
        return int(np.count_nonzero(data != (zero & 255)))
    words = data.reshape(-1, bits // 8) if data.size % (bits // 8) == 0 else data.reshape(-1, 1)
    # The sign bit of -0.0 is no information, so it does not make a number nonzero.
    words = words.copy()
    words[:, -1] &= 127
    return int(np.count_nonzero(words.any(axis=1)))


def fold(graph: Graph) -> list[Operator]:
    """Folds DEQUANTIZE of stored weights away, so that layers keep the precision of the file."""
    kept = []
    for operator in graph.operators:
        source = graph.tensor(operator.inputs[0]) if operator.inputs else None
        if operator.op in ("DEQUANTIZE", "DENSIFY") and source is not None and source.constant:
            graph.alias[operator.outputs[0]] = operator.inputs[0]
        else:
            kept.append(operator)
    return kept


def layers(graph: Graph, operators: list[Operator]) -> tuple[list[Layer], int]:
    """Returns one `Layer` an operator and the nonzero learned numbers; a constant read twice counts at its
    first.
    """
    seen: set[str] = set()
    nonzero = 0
    result = []
    for operator in operators:
        found = _learned(graph, operator)
        weights = [t for t in found if t.name not in seen]
        seen.update(t.name for t in weights)
        nonzero += sum(t.nonzero or 0 for t in weights)
        result.append(_layer(graph, operator, found, weights))
    return result, nonzero


def _learned(graph: Graph, operator: Operator) -> list[Tensor]:
    if KINDS.get(operator.op) in ("shape", "quantize", "pool"):
        return []
    tensors = {
        t.name: t for t in map(graph.tensor, filter(None, operator.inputs)) if t is not None and t.learned
    }
    return list(tensors.values())


def _layer(graph: Graph, operator: Operator, found: list[Tensor], weights: list[Tensor]) -> Layer:
    inputs = [t for t in map(graph.tensor, filter(None, operator.inputs)) if t is not None and not t.constant]
    outputs = [t for t in map(graph.tensor, filter(None, operator.outputs)) if t is not None]
    data, out = inputs[0] if inputs else None, outputs[0] if outputs else None
    kind, macs, kernel, groups = _cost(graph, operator, inputs, out)
    stride = tuple(operator.attributes.get(key, 1) for key in ("strideH", "strideW")) if kernel else ()
    activation: Precision = data.precision if data else "float32"
    return Layer(
        name=operator.name,
        op=operator.op,
        kind=kind,
        kernel=kernel,
        stride=stride,
        groups=groups,
        input_shape=data.shape if data else (),
        output_shape=out.shape if out else (),
        macs=macs,
        parameters=sum(t.elements for t in weights),
        weight_bytes=sum(t.size_bytes for t in weights),
        input_elements=sum(t.elements for t in {t.name: t for t in inputs}.values()),
        output_elements=sum(t.elements for t in outputs),
        precision=max(found, key=lambda t: t.elements).precision if found else activation,
        activation_precision=activation,
    )


def _cost(
    graph: Graph, operator: Operator, inputs: list[Tensor], out: Tensor | None
) -> tuple[LayerKind, int, tuple[int, ...], int]:
    """Kind, multiply-accumulates, window and groups."""
    if operator.op in WEIGHTED:
        weight = graph.tensor(operator.inputs[1])
        if weight is None or out is None or not inputs:
            raise ProfileError(f"The shapes around the {operator.op} layer can't be worked out.")
        if operator.op == "FULLY_CONNECTED":
            return ("dense" if weight.constant else "attention"), out.elements * weight.shape[-1], (), 1
        window = weight.shape[1:-1]
        if operator.op == "DEPTHWISE_CONV_2D":
            return "depthwise", out.elements * prod(window), window, inputs[0].shape[-1]
        if operator.op == "TRANSPOSE_CONV":
            return "conv", inputs[-1].elements * weight.shape[0] * prod(window), window, 1
        groups = max(inputs[0].shape[-1] // weight.shape[-1], 1)
        return (
            ("conv" if groups == 1 else "grouped"),
            out.elements * weight.shape[-1] * prod(window),
            window,
            groups,
        )
    if operator.op == "BATCH_MATMUL" and out is not None:
        inner = inputs[0].shape[-2 if operator.attributes.get("adjX") else -1]
        return ("attention" if len(inputs) > 1 else "dense"), out.elements * inner, (), 1
    window = tuple(operator.attributes.get(key, 0) for key in ("filterHeight", "filterWidth"))
    return KINDS.get(operator.op, "other"), 0, window if all(window) else (), 1


def compute_precision(found: list[Layer]) -> Precision:
    """What most MACs compute in: integer weights compute as integers even where activations are float
    (dynamic range).
    """
    totals: dict[Precision, int] = {}
    for layer in found:
        if layer.macs:
            totals[layer.precision] = totals.get(layer.precision, 0) + layer.macs
    return max(totals, key=lambda p: totals[p]) if totals else "float32"
