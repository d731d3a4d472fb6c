"""Which layers an ONNX graph holds and what each costs; works on plain data and imports no framework.

Operator semantics: onnx.ai operator schemas, opset 7 to 23, and the `com.microsoft` quantized operators.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from estimator.profile.plain_graph import BITS, Graph, Operator, ProfileError, Tensor
from estimator.types import Layer, LayerKind, Precision

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
CONVOLUTIONS = {"Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv"}
PRODUCTS = {
    "Gemm",
    "FusedGemm",
    "QGemm",
    "MatMul",
    "FusedMatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "MatMulNBits",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
}
QUANTIZERS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
# Quantized forms interleave scales and zero points with the data; these are the places of data, weight and
# bias.
PLACES = {
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3, None),
    "QGemm": (0, 3, 6),
    "DynamicQuantizeMatMul": (0, 1, 4),
    "MatMulIntegerToFloat": (0, 1, 6),
    "MatMulNBits": (0, 1, 5),
    "ConvInteger": (0, 1, None),
    "MatMulInteger": (0, 1, None),
    "QLinearConcat": (2, None, None),
}
INTEGER = {
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
}
KINDS: dict[str, LayerKind] = {
    **dict.fromkeys(
        (
            "MaxPool",
            "AveragePool",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "LpPool",
            "QLinearAveragePool",
            "QLinearGlobalAveragePool",
            "ReduceMean",
            "ReduceMax",
        ),
        "pool",
    ),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Pow", "Where", "QLinearAdd", "QLinearMul"),
        "elementwise",
    ),
    **dict.fromkeys(
        (
            "BatchNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "GroupNormalization",
            "RMSNormalization",
            "SkipLayerNormalization",
            "LRN",
        ),
        "norm",
    ),
    **dict.fromkeys(
        (
            "Relu",
            "Clip",
            "Sigmoid",
            "HardSigmoid",
            "HardSwish",
            "LeakyRelu",
            "PRelu",
            "Tanh",
            "Elu",
            "Selu",
            "Gelu",
            "Erf",
            "Softmax",
            "LogSoftmax",
            "Softplus",
            "Mish",
            "Swish",
            "Sqrt",
            "Exp",
            "QLinearLeakyRelu",
            "QLinearSigmoid",
            "QLinearSoftmax",
        ),
        "activation",
    ),
    **dict.fromkeys(
        (
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Concat",
            "QLinearConcat",
            "Split",
            "Slice",
            "Gather",
            "Pad",
            "Expand",
            "Tile",
            "Resize",
            "Upsample",
            "DepthToSpace",
            "SpaceToDepth",
            "Shape",
            "Identity",
            "Dropout",
            "Cast",
        ),
        "shape",
    ),
    **dict.fromkeys(QUANTIZERS, "quantize"),
}


def fold(graph: Graph) -> list[Operator]:
    """Folds constants and QDQ pairs away (into `graph.alias`) and returns the operators that do work.

    A DequantizeLinear, Cast, Transpose or Reshape of stored weights leaves the stored tensor in its place, so
    that a layer's weights keep the precision of the file. A float tensor that is only ever quantized stands
    for its integer form.
    """
    readers: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        for name in operator.inputs:
            readers.setdefault(name, []).append(operator)
    kept = []
    for operator in graph.operators:
        source = graph.tensor(operator.inputs[0]) if operator.inputs else None
        constant = all(t is not None and t.constant for t in map(graph.tensor, filter(None, operator.inputs)))
        if constant and operator.op != "RandomNormal":
            _fold_constant(graph, operator, source)
        elif operator.op in ("DequantizeLinear", "Identity", "Dropout"):
            graph.alias[operator.outputs[0]] = operator.inputs[0]
        elif operator.op == "QuantizeLinear" and _only_quantized(graph, operator, readers):
            graph.alias[operator.inputs[0]] = operator.outputs[0]
        else:
            kept.append(operator)
    return kept


def _only_quantized(graph: Graph, operator: Operator, readers: dict[str, list[Operator]]) -> bool:
    name = operator.inputs[0]
    return (
        len(readers[name]) == 1
        and name not in graph.outputs
        and name not in graph.inputs
        and name not in graph.alias
    )


def _fold_constant(graph: Graph, operator: Operator, source: Tensor | None) -> None:
    for name in filter(None, operator.outputs):
        tensor = graph.tensors.get(name)
        if (
            source is not None
            and tensor is not None
            and tensor.elements == source.elements
            and source.elements > 1
        ):
            shape = tensor.shape
            graph.tensors[name] = Tensor(
                source.name, shape, source.precision, source.bits, True, True, source.nonzero
            )
        elif tensor is not None:
            graph.tensors[name] = Tensor(
                name, tensor.shape, tensor.precision, tensor.bits, True, tensor.learned, tensor.elements
            )


def foreign_shape(
    op: str, attributes: Mapping[str, Any], shapes: Sequence[tuple[int, ...] | None]
) -> tuple[int, ...] | None:
    """Shape that a `com.microsoft` operator gives from its inputs' shapes, None where it is not known here.

    ONNX infers nothing for these; without it every layer behind one would be lost.
    """
    data = shapes[0] if shapes else None
    if data is None:
        return None
    if op in ("QLinearAdd", "QLinearMul"):
        other = shapes[3]
        return None if other is None else tuple(np.broadcast_shapes(data, other))
    if op in (
        "QLinearLeakyRelu",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "Gelu",
        "FastGelu",
        "QuickGelu",
        "BiasGelu",
        "QuantizeLinear",
        "DequantizeLinear",
    ):
        return data
    if op == "QLinearGlobalAveragePool":
        return (*data[:2], *(1,) * (len(data) - 2))
    if op == "MatMulNBits":
        return (*data[:-1], attributes["N"])
    if op in ("QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "FusedMatMul"):
        weight = shapes[3 if op == "QGemm" else 1]
        return None if weight is None else (*data[:-1], weight[-2 if attributes.get("transB") else -1])
    if op == "QLinearConcat":
        parts = [shape for shape in shapes[2::3] if shape is not None]
        axis = attributes["axis"]
        if len(parts) < len(shapes[2::3]):
            return None
        return tuple(
            sum(p[i] for p in parts) if i == axis % len(parts[0]) else n for i, n in enumerate(parts[0])
        )
    return None


def layers(graph: Graph, operators: list[Operator]) -> tuple[list[Layer], int]:
    """Returns one `Layer` an operator and the nonzero learned numbers; a constant read twice counts at its
    first.
    """
    seen: set[str] = set()
    names: set[str] = set()
    nonzero = 0
    result = []
    for number, operator in enumerate(operators):
        weights = []
        for tensor in _learned(graph, operator):
            if tensor.name not in seen:
                seen.add(tensor.name)
                weights.append(tensor)
                nonzero += tensor.nonzero if tensor.nonzero is not None else tensor.elements
        name = operator.name if operator.name and operator.name not in names else f"{operator.op}_{number}"
        names.add(name)
        result.append(_layer(graph, operator, name, weights))
    return result, nonzero


def _learned(graph: Graph, operator: Operator) -> list[Tensor]:
    """The constants that were learned; scales, zero points and integer shapes are not."""
    places = PLACES.get(operator.op)
    inputs = (
        operator.inputs
        if places is None
        else [operator.inputs[p] for p in places if p is not None and p < len(operator.inputs)]
    )
    tensors = [graph.tensor(name) for name in inputs if name]
    found = [t for t in tensors if t is not None and t.constant and (t.learned or places is not None)]
    if operator.op == "MatMulNBits":
        size = (operator.attributes["N"], operator.attributes["K"])
        bits = operator.attributes.get("bits", 4)
        found = [
            (
                Tensor(t.name, size, "int4" if bits == 4 else "int8", bits, True, True)
                if t.name == operator.inputs[1]
                else t
            )
            for t in found
        ]
    kind = KINDS.get(operator.op)
    if kind in ("shape", "quantize", "activation") and operator.op != "PRelu":
        return []
    # A lone number beside an addition or product is a scale or a constant of the arithmetic.
    return [t for t in found if t.shape or kind != "elementwise"]


def _layer(graph: Graph, operator: Operator, name: str, weights: list[Tensor]) -> Layer:
    place = PLACES.get(operator.op, (0,))[0]
    data = graph.tensor(operator.inputs[place]) if len(operator.inputs) > place else None
    out = graph.tensor(operator.outputs[0]) if operator.outputs else None
    kind, macs, kernel, groups = _cost(graph, operator, data, out)
    reads = {graph.resolve(n) for n in operator.inputs if n}
    read = [graph.tensors[n] for n in sorted(reads) if n in graph.tensors and not graph.tensors[n].constant]
    written = [t for t in map(graph.tensor, filter(None, operator.outputs)) if t is not None]
    activation: Precision = "int8" if operator.op in INTEGER else data.precision if data else "float32"
    weight = _weight_of(graph, operator)
    return Layer(
        name=name,
        op=operator.op,
        kind=kind,
        kernel=kernel,
        groups=groups,
        stride=tuple(operator.attributes.get("strides", (1,) * len(kernel)))[: len(kernel)],
        input_shape=data.shape if data else (),
        output_shape=out.shape if out else (),
        macs=macs,
        parameters=sum(t.elements for t in weights),
        weight_bytes=sum(t.size_bytes for t in weights),
        input_elements=sum(t.elements for t in read),
        output_elements=sum(t.elements for t in written),
        precision=weight.precision if weight is not None else activation,
        activation_precision=activation,
    )


def _weight_of(graph: Graph, operator: Operator) -> Tensor | None:
    """The largest learned constant, whether or not an earlier layer shares it."""
    found = _learned(graph, operator)
    return max(found, key=lambda t: t.elements) if found else None


def _cost(
    graph: Graph, operator: Operator, data: Tensor | None, out: Tensor | None
) -> tuple[LayerKind, int, tuple[int, ...], int]:
    """Kind, multiply-accumulates, window and groups."""
    if operator.op in CONVOLUTIONS | PRODUCTS:
        weight = graph.tensor(operator.inputs[PLACES.get(operator.op, (0, 1, 2))[1] or 1])
        if data is None or out is None or weight is None:
            raise ProfileError(
                f"The shapes around the {operator.op} layer {operator.name!r} can't be worked out."
            )
        if operator.op in CONVOLUTIONS:
            return _convolution(operator, data, out, weight)
        inner = data.shape[-2] if operator.attributes.get("transA") else data.shape[-1]
        return ("dense" if weight.constant else "attention"), out.elements * inner, (), 1
    if operator.op in ("Einsum", "Attention", "MultiHeadAttention"):
        return "attention", _einsum_macs(graph, operator), (), 1
    kind = KINDS.get(operator.op, "other")
    kernel = tuple(operator.attributes.get("kernel_shape", ())) if kind == "pool" else ()
    if operator.op.startswith(("Global", "QLinearGlobal")) and data is not None:
        kernel = data.shape[2:]
    return kind, 0, kernel, 1


def _convolution(
    operator: Operator, data: Tensor, out: Tensor, weight: Tensor
) -> tuple[LayerKind, int, tuple[int, ...], int]:
    groups = operator.attributes.get("group", 1)
    window = weight.shape[2:]
    anchor = data if operator.op == "ConvTranspose" else out
    macs = anchor.elements * weight.shape[1] * prod(window)
    kind: LayerKind = "conv" if groups == 1 else "depthwise" if groups == data.shape[1] else "grouped"
    return kind, macs, window, groups


def _einsum_macs(graph: Graph, operator: Operator) -> int:
    equation = operator.attributes.get("equation")
    if not isinstance(equation, str) or "." in equation:
        raise ProfileError(f"The cost of the {operator.op} layer {operator.name!r} can't be worked out.")
    sizes: dict[str, int] = {}
    for letters, name in zip(
        equation.replace(" ", "").split("->")[0].split(","), operator.inputs, strict=True
    ):
        tensor = graph.tensor(name)
        if tensor is not None:
            sizes.update(zip(letters, tensor.shape, strict=True))
    return prod(sizes.values())


def compute_precision(found: list[Layer]) -> Precision:
    """What most MACs compute in where the device can: INT4 weights stay INT4, weight-only INT8 computes in
    float.
    """
    totals: dict[Precision, int] = {}
    for layer in found:
        if layer.macs:
            computed = layer.precision if BITS[layer.precision] < 8 else layer.activation_precision
            totals[computed] = totals.get(computed, 0) + layer.macs
    return max(totals, key=lambda p: totals[p]) if totals else "float32"
