"""The float graph of a file: what the tools of TensorRT and of NPUs build their own files from.

They take 8-bit graphs with symmetric codes only, or none, and none of 4 bits or with ranges found at run
time. So the stored codes are unpacked to the floats that they stand for, and the rounding of activations is
taken out; the ranges that it had are told beside it.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.errors import EdgewiseError
from engine.formats.onnx.opset import opset_of

DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
KEEP_SIGN = (
    "MaxPool",
    "Flatten",
    "Reshape",
    "Relu",
    "GlobalAveragePool",
    "AveragePool",
    "Squeeze",
    "Transpose",
)
NEW_AND_IDLE = ("allowzero", "noop_with_empty_axes", "training_mode")  # attributes that change nothing at 0


def write(source: Path, target: Path, opset: int) -> dict[str, float]:
    """Writes the float graph of an ONNX file, and returns the largest magnitude of each activation whose
    range the file states.

    Raises EdgewiseError for a graph that has no such form.
    """
    model, ranges = float_graph(onnx.load(str(source)), opset)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return ranges


def float_graph(model: onnx.ModelProto, opset: int) -> tuple[onnx.ModelProto, dict[str, float]]:
    """Returns a float graph for single images, in that opset or an earlier one, and the largest magnitude of
    each activation whose range the file states.

    Raises EdgewiseError for a graph that has no such form.
    """
    if any(node.op_type in DYNAMIC for node in model.graph.node):
        raise EdgewiseError("its ranges are found at run time, so it has no float graph")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    unpack(made)
    ranges = without_rounding(made)
    return lowered(for_single_images(made), opset), ranges


def for_single_images(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model itself, its batch now fixed to one: no such tool takes a number that is left open."""
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    return model


def write_for_single_images(source: Path, target: Path) -> None:
    """Writes an ONNX file anew, as it is but for its batch, which is fixed to one."""
    target.write_bytes(for_single_images(onnx.load(str(source))).SerializeToString(deterministic=True))


def unpack(model: onnx.ModelProto) -> None:
    """Puts floats in the place of stored codes and half floats, and of the nodes that widen them."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored[node.output[0]] = node.attribute[0].t
            stored[node.output[0]].name = node.output[0]
            continue
        widens = node.op_type in ("DequantizeLinear", "Cast") and node.input[0] in stored
        if not widens:
            kept.append(node)
            continue
        values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        if node.op_type == "DequantizeLinear":
            values = dequantized(values, node, stored)
        name = node.output[0]
        stored[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
    _replace(model, kept, stored.values())


def dequantized(codes: np.ndarray, node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> np.ndarray:
    """Returns what stored codes stand for, float32 of their shape."""
    scale, *zeros = (
        numpy_helper.to_array(stored[name]).astype(np.float32) for name in node.input[1:] if name
    )
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if any(a.name == "block_size" and a.i for a in node.attribute):
        raise EdgewiseError("its codes are stored in blocks")
    if scale.ndim:
        shape = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)]
        scale, zeros = scale.reshape(shape), [zero.reshape(shape) for zero in zeros]
    return (codes - (zeros[0] if zeros else np.float32(0))) * scale


def without_rounding(model: onnx.ModelProto) -> dict[str, float]:
    """Takes the pairs that round activations out and returns the largest magnitude of each by name. Codes
    that begin at zero also do what a Relu or Relu6 did that was left out for them: that stays, as a Clip.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    quantized = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    made_by = {name: node for node in model.graph.node for name in node.output}
    ranges: dict[str, float] = {}
    renamed: dict[str, str] = {}
    cut: dict[str, float] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            continue
        if node.op_type != "DequantizeLinear":
            kept.append(node)
            continue
        pair = quantized[node.input[0]]
        scale = float(numpy_helper.to_array(stored[pair.input[1]]))
        codes = numpy_helper.to_array(stored[pair.input[2]])
        low, high = np.iinfo(codes.dtype).min, np.iinfo(codes.dtype).max
        name, zero = pair.input[0], int(codes)
        ranges[name] = scale * max(zero - low, high - zero)
        renamed[node.output[0]] = name
        if zero == low and not _is_positive(name, made_by, cut):
            cut[name] = scale * (high - zero)
    outputs = {end.name for end in model.graph.output}
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    for node in list(kept):
        for place, name in enumerate(node.output):
            if name in cut:
                node.output[place] = f"{name}_before"
                ends = [f"{name}_least", f"{name}_most"]
                for end, value in zip(ends, (0.0, cut[name]), strict=True):
                    stored[end] = numpy_helper.from_array(np.array(value, np.float32), end)
                clip = helper.make_node("Clip", [node.output[place], *ends], [name])
                kept.insert(kept.index(node) + 1, clip)
    for last, name in renamed.items():
        if last in outputs:
            _rename(kept, name, last)
            ranges[last] = ranges.pop(name)
    _replace(model, kept, stored.values())
    return ranges


def _rename(nodes: list[onnx.NodeProto], name: str, new: str) -> None:
    """Calls a tensor otherwise, wherever it is made and read."""
    for node in nodes:
        for field in (node.input, node.output):
            for place, found in enumerate(field):
                if found == name:
                    field[place] = new


def _is_positive(name: str, made_by: dict[str, onnx.NodeProto], cut: dict[str, float]) -> bool:
    """Tells whether a tensor has no negative value already, following back what keeps the sign."""
    node = made_by.get(name)
    if name in cut or (node is not None and node.op_type == "Relu"):
        return True
    if node is None or node.op_type not in (*KEEP_SIGN, "QuantizeLinear", "DequantizeLinear"):
        return False
    return _is_positive(node.input[0], made_by, cut)


def lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Returns the graph in an opset that is not too late for its reader: most operators of classifiers only
    gained types, and the others are written as they were before. ONNX's own converter lacks these steps.
    """
    if opset_of(model) > opset:
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        nodes = [earlier for node in model.graph.node for earlier in _earlier(node, opset, stored)]
        _replace(model, nodes, stored.values())
        del model.opset_import[:]
        model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = min(model.ir_version, 8)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # several classes, some the C++ library's own
        raise EdgewiseError(f"it can't be written in opset {opset}") from error
    return model


def _earlier(node: onnx.NodeProto, opset: int, stored: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Returns the nodes that do the same in an earlier opset."""
    if node.op_type == "HardSwish" and opset < 14:
        source, gate = node.input[0], f"{node.output[0]}_gate"
        sigmoid = helper.make_node("HardSigmoid", [source], [gate], alpha=1 / 6, beta=0.5)
        return [sigmoid, helper.make_node("Mul", [source, gate], list(node.output))]
    made = onnx.NodeProto()
    made.CopyFrom(node)
    if node.op_type.startswith("Reduce") and opset < 18 and len(node.input) == 2 and node.input[1] in stored:
        axes = numpy_helper.to_array(stored[node.input[1]]).tolist()
        del made.input[1:]
        made.attribute.append(helper.make_attribute("axes", axes))
    known = onnx.defs.get_schema(node.op_type, opset, "").attributes
    for attribute in list(made.attribute):
        if attribute.name not in known and attribute.name in NEW_AND_IDLE and not attribute.i:
            made.attribute.remove(attribute)
    return [made]


def _replace(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], tensors: Iterable[onnx.TensorProto]
) -> None:
    """Puts nodes and stored tensors in the place of the graph's; tensors that nobody reads go."""
    nodes, read = list(nodes), {name for node in nodes for name in node.input}
    kept = [tensor for tensor in tensors if tensor.name in read]
    for field, new in ((model.graph.node, nodes), (model.graph.initializer, kept)):
        copies = [type(one).FromString(one.SerializeToString()) for one in new]
        del field[:]
        field.extend(copies)
