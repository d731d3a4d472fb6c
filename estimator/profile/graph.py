"""Reads an ONNX or TFLite file into a `Profile`. The only file here that opens frameworks, and only when
asked to.
"""

from pathlib import Path
from typing import Any

import numpy as np

from estimator.profile import onnx_constants, onnx_layers, tflite_layers
from estimator.profile.plain_graph import Graph, Operator, ProfileError, Tensor, peak_activation_bytes
from estimator.types import Layer, Precision, Profile

__all__ = ["ProfileError", "profile", "profile_onnx", "profile_tflite"]


def profile(path: Path | str) -> Profile:
    """Profiles a model file, told apart by content. Raises ProfileError for anything but ONNX and TFLite."""
    with open(path, "rb") as file:
        head = file.read(8)
    return profile_tflite(path) if head[4:] == b"TFL3" else profile_onnx(path)


def profile_onnx(path: Path | str) -> Profile:
    """Profiles an ONNX file, opset 7 or later, with a batch of one. Raises ProfileError with the reason."""
    data = Path(path).read_bytes()
    graph, batch = _read_onnx(data)
    operators = onnx_layers.fold(graph)
    layers, nonzero = onnx_layers.layers(graph, operators)
    peak = peak_activation_bytes(graph, operators, onnx_layers.VIEWS)
    return _profile(
        "onnx", graph, layers, nonzero, peak, len(data), onnx_layers.compute_precision(layers), batch
    )


def profile_tflite(path: Path | str) -> Profile:
    """Profiles a TFLite file, its first subgraph. Raises ProfileError with the reason."""
    data = Path(path).read_bytes()
    graph = _read_tflite(data)
    operators = tflite_layers.fold(graph)
    layers, nonzero = tflite_layers.layers(graph, operators)
    peak = peak_activation_bytes(graph, operators, tflite_layers.VIEWS)
    precision = tflite_layers.compute_precision(layers)
    shape = graph.tensors[graph.inputs[0]].shape if graph.inputs else ()
    return _profile(
        "tflite", graph, layers, nonzero, peak, len(data), precision, shape[0] if len(shape) > 1 else 1
    )


def _profile(
    file_format: Any,
    graph: Graph,
    layers: list[Layer],
    nonzero: int,
    peak: int,
    size: int,
    precision: Precision,
    batch: int,
) -> Profile:
    if batch > 1:
        # A graph exported for a fixed batch costs one image its share; its weights are counted once.
        layers = [
            layer.model_copy(
                update={
                    "macs": layer.macs // batch,
                    "input_elements": layer.input_elements // batch,
                    "output_elements": layer.output_elements // batch,
                }
            )
            for layer in layers
        ]
    first, last = (graph.tensor(names[0]) if names else None for names in (graph.inputs, graph.outputs))
    return Profile(
        format=file_format,
        precision=precision,
        layers=tuple(layers),
        input_shape=first.shape if first else (),
        output_shape=last.shape if last else (),
        parameters=sum(layer.parameters for layer in layers),
        nonzero_parameters=nonzero,
        macs=sum(layer.macs for layer in layers),
        weight_bytes=sum(layer.weight_bytes for layer in layers),
        input_elements=sum(layer.input_elements for layer in layers),
        output_elements=sum(layer.output_elements for layer in layers),
        peak_activation_bytes=peak // max(batch, 1),
        size_bytes=size,
    )


def _read_onnx(data: bytes) -> tuple[Graph, int]:
    """Parses, fixes the batch, infers shapes; returns the plain graph and the batch it was exported for."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ProfileError("The file is neither ONNX nor TFLite.") from error
    if not model.graph.node:
        raise ProfileError("The file is neither ONNX nor TFLite, or holds an empty graph.")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ProfileError("The ONNX file keeps its weights in other files; export it as one file.")
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    batch = _fix_batch(model)
    try:
        model = _infer_shapes(model)
    except onnx.shape_inference.InferenceError as error:
        raise ProfileError(f"The shapes of the ONNX graph can't be worked out: {error}") from error
    return _plain_onnx(model), batch


def _fix_batch(model: Any) -> int:
    """Sets an open batch to 1 and forgets shapes that were stated for another; returns the batch."""
    stored = {t.name for t in model.graph.initializer}
    batch = 1
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in stored or not dims:
            continue
        if dims[0].dim_value > 0:
            batch = max(batch, dims[0].dim_value if len(dims) > 1 else 1)
        else:
            dims[0].dim_value = 1
        if any(d.dim_value <= 0 for d in dims):
            raise ProfileError(f"The input {value.name!r} has no fixed size; export the model with one.")
    foreign = {out for node in model.graph.node if node.domain not in ("", "ai.onnx") for out in node.output}
    stated = [value for value in model.graph.value_info if value.name in foreign]
    del model.graph.value_info[:]
    model.graph.value_info.extend(stated)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return batch


def _infer_shapes(model: Any) -> Any:
    """ONNX's own inference, helped over the operators that are not ONNX's own until nothing new is
    learned.
    """
    import onnx

    while True:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        known: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
                known[value.name] = tuple(d.dim_value for d in kind.shape.dim)
        types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.value_info)}
        learned = []
        for node in model.graph.node:
            if node.domain in ("", "ai.onnx") or node.output[0] in known:
                continue
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            shape = onnx_layers.foreign_shape(node.op_type, attributes, [known.get(n) for n in node.input])
            if shape is not None:
                known[node.output[0]] = shape
                integer = node.op_type.startswith("QLinear") or node.op_type == "QuantizeLinear"
                kind = onnx.TensorProto.UINT8 if integer else types.get(node.input[0], onnx.TensorProto.FLOAT)
                learned.append(
                    onnx.helper.make_tensor_value_info(node.output[0], kind or onnx.TensorProto.FLOAT, shape)
                )
        if not learned:
            if _needs_constants(model) and onnx_constants.fold(model):
                continue  # sizes that were computed in the graph are plain now, and more can be inferred
            return model
        fresh = {value.name for value in learned}
        stale = [value for value in model.graph.value_info if value.name not in fresh]
        del model.graph.value_info[:]
        model.graph.value_info.extend([*stale, *learned])


def _needs_constants(model: Any) -> bool:
    """Tells whether the graph works out shapes at run time."""
    return any(node.op_type in ("Shape", "ConstantOfShape") for node in model.graph.node)


def _plain_onnx(model: Any) -> Graph:
    import onnx

    types = onnx.TensorProto
    precisions: dict[int, tuple[Precision, int]] = {
        types.FLOAT16: ("float16", 16),
        types.BFLOAT16: ("float16", 16),
        types.INT8: ("int8", 8),
        types.UINT8: ("int8", 8),
        types.BOOL: ("int8", 8),
        types.INT4: ("int4", 4),
        types.UINT4: ("int4", 4),
        types.DOUBLE: ("float32", 64),
        types.INT64: ("float32", 64),
    }
    floats = {types.FLOAT, types.FLOAT16, types.BFLOAT16, types.DOUBLE}
    tensors: dict[str, Tensor] = {}
    graph = model.graph

    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            shape = tuple(d.dim_value for d in kind.shape.dim)
            tensors[value.name] = Tensor(value.name, shape, *precisions.get(kind.elem_type, ("float32", 32)))
    zero_points = {
        n.input[0]: n.input[2] for n in graph.node if n.op_type == "DequantizeLinear" and len(n.input) > 2
    }
    stored = {t.name: t for t in graph.initializer}
    stored |= {
        n.output[0]: a.t
        for n in graph.node
        if n.op_type == "Constant"
        for a in n.attribute
        if a.name == "value"
    }
    quantized = set(zero_points) | {n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    for name, proto in stored.items():
        array = onnx.numpy_helper.to_array(proto)
        zero: np.ndarray = (
            onnx.numpy_helper.to_array(stored[zero_points[name]])
            if zero_points.get(name) in stored
            else np.array(0, np.int8)
        )
        nonzero = (
            int(np.count_nonzero(array))
            if not np.any(zero)
            else int(np.count_nonzero(array.astype(np.int32) != _spread(zero, array.shape)))
        )
        tensors[name] = Tensor(
            name,
            tuple(proto.dims),
            *precisions.get(proto.data_type, ("float32", 32)),
            constant=True,
            learned=proto.data_type in floats or name in quantized,
            nonzero=nonzero,
        )
    for sparse in graph.sparse_initializer:
        name = sparse.values.name
        tensors[name] = Tensor(
            name,
            tuple(sparse.dims),
            *precisions.get(sparse.values.data_type, ("float32", 32)),
            constant=True,
            learned=True,
            nonzero=int(np.prod(sparse.values.dims)),
        )
    operators = [
        Operator(
            n.name,
            n.op_type,
            tuple(n.input),
            tuple(n.output),
            {a.name: _attribute(onnx.helper.get_attribute_value(a)) for a in n.attribute},
        )
        for n in graph.node
        if n.op_type != "Constant"
    ]
    inputs = tuple(v.name for v in graph.input if v.name not in stored)
    return Graph(operators, tensors, inputs, tuple(v.name for v in graph.output))


def _spread(zero: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Shapes per-channel zero points so that they line up with the axis they belong to."""
    zero = zero.astype(np.int32)
    if zero.ndim == 1 and zero.size > 1:
        axis = next((i for i, size in enumerate(shape) if size == zero.size), 0)
        return zero.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return zero if zero.ndim == 0 or zero.shape == shape else zero.reshape(-1)[:1]


def _attribute(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _read_tflite(data: bytes) -> Graph:
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise ProfileError("The file is not a TFLite file.")
    try:
        return tflite_layers.plain(schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0)), schema)
    except Exception as error:  # the generated reader raises whatever a wrong offset leads it to
        raise ProfileError("The TFLite file is damaged and can't be read.") from error
