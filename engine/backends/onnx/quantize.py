"""Quantized ONNX files: INT8 through ONNX Runtime's quantizer, packed INT4 and FP16 weights by rewriting
initializers.

INT4 follows the ONNX specification, opset 21: two codes a byte, low half first, read by DequantizeLinear with
one scale per output channel.
"""

import logging
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from engine.backends.grid import Grid, packed
from engine.backends.onnx.graph import WEIGHTED, Graph, output_axis
from engine.backends.protocol import QuantSpec
from engine.errors import EdgewiseError

INT4_OPSET, INT4_IR = 21, 10
Replacement = tuple[
    list[TensorProto], onnx.NodeProto
]  # the tensors to store, and the node that makes the old one of them
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
# the quantizer keeps all activations of the images that go through together, and those of all images, twice
# over, where it makes histograms of them: few images of a large network then, which bring as many values
HELD_BYTES, FEWEST_HELD = 400_000_000, 8


def quantize(graph: Graph, spec: QuantSpec, inputs: np.ndarray | None, target: Path) -> None:
    """Writes the quantized file. `inputs`: preprocessed calibration images [n, …], for `static_int8`."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer writes advice to the root logger
    if spec.kind == "fp16":
        to_fp16(graph)
        graph.save(target)
    elif spec.kind == "weights":
        to_grids(graph, spec.grids)
        graph.save(target)
    else:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "float.onnx")
            for number, node in enumerate(graph.model.graph.node):
                node.name = node.name or f"node_{number}"  # by which the quantizer leaves one out
            shaped = _with_shapes(graph)
            onnx.save(shaped, str(source))
            if spec.kind == "dynamic_int8":
                quantize_dynamic(str(source), str(target), weight_type=QuantType.QUInt8, per_channel=False)
            else:
                _static(graph, source, spec, inputs, held_at_once(shaped), target)
            _drop_bias_zero_points(target)
    onnx.checker.check_model(str(target))


def _with_shapes(graph: Graph) -> onnx.ModelProto:
    """Returns the model with the shapes of its values; not of stored tensors, which the dynamic quantizer
    transposes without saying so where a shape is noted (torch's newer exporter notes them)."""
    model = onnx.shape_inference.infer_shapes(graph.model)
    values = [value for value in model.graph.value_info if value.name not in graph.initializers]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)
    return model


def _drop_bias_zero_points(path: Path) -> None:
    """Leaves out the zero points of 32-bit biases: they are all zero, which is what a missing one means, and
    take four bytes a channel. Those of the weights stay, because the runtime's integer Gemm asks for them."""
    model = onnx.load(str(path))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 3 and node.input[0] in stored:
            zero = stored.get(node.input[2])
            if (
                zero is not None
                and zero.data_type == TensorProto.INT32
                and not numpy_helper.to_array(zero).any()
            ):
                del node.input[2:]
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, str(path))


def _static(graph: Graph, source: Path, spec: QuantSpec, inputs: np.ndarray, most: int, target: Path) -> None:
    if spec.calibrate != "minmax":
        inputs = inputs[:most]
    overrides = _overrides(graph, spec)
    options = {"TensorQuantOverrides": overrides} if overrides else {}
    quantize_static(
        str(source),
        str(target),
        _Reader(inputs, graph.fixed_batch, most),
        nodes_to_exclude=[node.name for node, layer in layer_nodes(graph.model) if layer in spec.floats],
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=spec.reduced_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=METHODS[spec.calibrate],
        extra_options=options,
    )


def held_at_once(model: onnx.ModelProto) -> int:
    """Returns how many images' activations fit in memory while ranges are looked for. model: with its shapes;
    a tensor without counts as nothing.
    """
    shapes = ([d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in model.graph.value_info)
    each = sum(4 * int(np.prod(shape)) for shape in shapes if shape and min(shape) > 0)
    return max(FEWEST_HELD, HELD_BYTES // max(each, 1))


class _Reader(CalibrationDataReader):
    """Hands preprocessed images to the quantizer, at most 32 and `most` at a time, always as many: it stacks
    what it collects, and keeps all activations until it has looked at them.
    """

    def __init__(self, inputs: np.ndarray, fixed_batch: int | None, most: int):
        counts = range(1, min(32, most) + 1)
        batch = fixed_batch or max(count for count in counts if len(inputs) % count == 0)
        # only a fixed batch leaves a rest: images are seen again, however often it takes to fill it
        inputs = np.resize(inputs, (-(-len(inputs) // batch) * batch, *inputs.shape[1:]))
        self.batches = iter([inputs[i : i + batch] for i in range(0, len(inputs), batch)])

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


def _overrides(graph: Graph, spec: QuantSpec) -> dict[str, list[dict]]:
    """Fixes what was learned: weight scales per channel, and the range of each layer's input."""
    overrides: dict[str, list[dict]] = {}
    for node, layer in layer_nodes(graph.model):
        if grid := spec.grids.get(layer):
            overrides[node.input[1]] = [
                {
                    "quant_type": QuantType.QInt8,
                    "scale": np.array(scale, np.float32),
                    "zero_point": np.array(0, np.int8),
                }
                | ({"axis": output_axis(node)} if channel == 0 else {})
                for channel, scale in enumerate(grid.scales)
            ]
        if layer in spec.activations:
            low, high = spec.activations[layer]
            scale = max(high - low, 1e-6) / 255
            overrides[node.input[0]] = [
                {
                    "quant_type": QuantType.QUInt8,
                    "scale": np.array(scale, np.float32),
                    "zero_point": np.array(int(np.clip(round(-low / scale), 0, 255)), np.uint8),
                }
            ]
    return overrides


def layer_nodes(model: onnx.ModelProto) -> list[tuple[onnx.NodeProto, str]]:
    """Returns the nodes whose second input is a layer's own weight, with the layer's name."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [
        (node, node.input[1].removesuffix(".weight"))
        for node in model.graph.node
        if node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in stored
    ]


def to_grids(graph: Graph, grids: dict[str, Grid]) -> None:
    """Stores the weights of these layers as integer codes and scales, INT4 packed two to a byte."""
    model = graph.model
    _raise_opset(model)
    if missing := set(grids) - {layer for _, layer in layer_nodes(model)}:
        raise EdgewiseError(
            f"the layer {sorted(missing)[0]} has no weight of its own in the exported graph, so it can't be"
            f" stored in {min(g.bits for g in grids.values())} bits"
        )
    replaced: dict[str, Replacement] = {}
    for node, layer in layer_nodes(model):
        grid = grids.get(layer)
        if grid is None:
            continue
        name = node.input[1]
        axis = output_axis(node)
        codes = (grid.codes.T if axis else grid.codes).astype(ml_dtypes.int4 if grid.bits == 4 else np.int8)
        kind = TensorProto.INT4 if grid.bits == 4 else TensorProto.INT8
        replaced[name] = (
            [
                _packed(codes, f"{name}_codes", kind),
                numpy_helper.from_array(grid.scales.astype(np.float32), f"{name}_scales"),
            ],
            helper.make_node(
                "DequantizeLinear",
                [f"{name}_codes", f"{name}_scales"],
                [name],
                name=f"{name}_dequantize",
                axis=axis,
            ),
        )
    _replace(model, replaced)


def _packed(codes: np.ndarray, name: str, kind: int) -> TensorProto:
    if kind == TensorProto.INT8:
        return numpy_helper.from_array(codes, name)
    return TensorProto(
        name=name,
        data_type=kind,
        dims=codes.shape,
        raw_data=packed(codes).tobytes(),
    )


def to_fp16(graph: Graph) -> None:
    """Stores every float32 weight as float16 with a Cast that the runtime folds at load, so any CPU runs it
    at float speed; values beyond float16's range are clipped to it."""
    model, replaced = graph.model, {}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node, _ in layer_nodes(model):
        name = node.input[1]
        half = np.clip(numpy_helper.to_array(stored[name]), -65504, 65504).astype(np.float16)
        replaced[name] = (
            [numpy_helper.from_array(half, f"{name}_half")],
            helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT),
        )
    _replace(model, replaced)


def _replace(model: onnx.ModelProto, replaced: dict[str, Replacement]) -> None:
    """Puts other tensors, and a node that makes the old one of them, in the place of stored tensors; all at
    once, because a list of tensors that is written anew keeps the memory of the one before."""
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced]
    kept += [tensor for tensors, _ in replaced.values() for tensor in tensors]
    nodes = [producer for _, producer in replaced.values()] + list(model.graph.node)
    for field, new in ((model.graph.initializer, kept), (model.graph.node, nodes)):
        del field[:]
        field.extend(new)


def _raise_opset(model: onnx.ModelProto) -> None:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version < INT4_OPSET:
            opset.version = (
                INT4_OPSET  # between 18 and 21 the operators of image classifiers only gained types
            )
    model.ir_version = max(model.ir_version, INT4_IR)


def stored_tensors(path: Path) -> list[tuple[bytes, str]]:
    """Returns the raw bytes of an ONNX file's tensors, each with its type where the entropy coder knows
    it.
    """
    kinds = {
        TensorProto.FLOAT: "float32",
        TensorProto.INT8: "int8",
        TensorProto.UINT8: "int8",
        TensorProto.INT4: "int4",
    }
    return [
        (tensor.raw_data, kinds[tensor.data_type])
        for tensor in onnx.load(str(path)).graph.initializer
        if tensor.raw_data and tensor.data_type in kinds
    ]
