"""The harmless twins, small and made on the spot: one for every format and route."""

import functools
import io
import json
import struct
import zipfile

import h5py
import numpy as np


def rezip(data: bytes, change: dict[str, bytes | None] | None = None) -> bytes:
    """Returns the ZIP with entries replaced, added, or (None) left out."""
    change, out = dict(change or {}), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            value = change.pop(name, old.read(name))
            if value is not None:
                new.writestr(name, value)
        for name, value in change.items():
            if value is not None:
                new.writestr(name, value)
    return out.getvalue()


@functools.cache
def lenet_state() -> dict:
    """Weights of a small LeNet-like chain for 28x28 grey images."""
    import torch

    torch.manual_seed(0)
    shapes = {
        "conv1.weight": (4, 1, 5, 5),
        "conv1.bias": (4,),
        "conv2.weight": (8, 4, 5, 5),
        "conv2.bias": (8,),
        "fc1.weight": (10, 128),
        "fc1.bias": (10,),
    }
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def _torch_bytes(value: object, **options: object) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def _module():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 13 * 13, 10),
    ).eval()


@functools.cache
def state_zip() -> bytes:
    return _torch_bytes(lenet_state())


@functools.cache
def state_legacy() -> bytes:
    return _torch_bytes(lenet_state(), _use_new_zipfile_serialization=False)


@functools.cache
def module_zip() -> bytes:
    return _torch_bytes(_module())


@functools.cache
def script() -> bytes:
    import torch

    out = io.BytesIO()
    torch.jit.save(torch.jit.trace(_module(), torch.rand(1, 1, 28, 28)), out)
    return out.getvalue()


def pack_safetensors(header: dict | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@functools.cache
def safetensors() -> bytes:
    header, data = {}, b""
    for name, value in lenet_state().items():
        raw = value.numpy().tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return pack_safetensors(header, data)


def onnx_model():
    """A convolution, pooling and a dense layer, as an onnx.ModelProto that cases may spoil."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) * 0.1, name)
        for name, shape in (("w1", (4, 1, 5, 5)), ("b1", (4,)), ("w2", (10, 4)), ("b2", (10,)))
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c"], kernel_shape=[5, 5]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def onnx() -> bytes:
    return onnx_model().SerializeToString()


def keras2_config() -> dict:
    """A Keras 2 configuration: one convolution, flatten, one dense layer."""
    return {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [
                {
                    "class_name": "Conv2D",
                    "config": {
                        "name": "conv",
                        "filters": 4,
                        "kernel_size": [3, 3],
                        "strides": [2, 2],
                        "padding": "valid",
                        "activation": "relu",
                        "use_bias": True,
                        "batch_input_shape": [None, 28, 28, 1],
                        "dtype": "float32",
                    },
                },
                {"class_name": "Flatten", "config": {"name": "flat"}},
                {
                    "class_name": "Dense",
                    "config": {"name": "dense", "units": 10, "activation": "softmax", "use_bias": True},
                },
            ],
        },
    }


def h5(config: dict | None = None, spoil=None) -> bytes:
    """A Keras 2 file; `spoil(file)` may change it before it is closed."""
    rng, out = np.random.default_rng(0), io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["model_config"] = json.dumps(config or keras2_config())
        file.attrs["keras_version"], file.attrs["backend"] = b"2.4.0", b"tensorflow"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([b"conv", b"flat", b"dense"])
        for layer, shape in (("conv", (3, 3, 1, 4)), ("flat", None), ("dense", (676, 10))):
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = np.array(
                [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()] if shape else [], "S20"
            )
            if shape:
                inner.create_dataset(
                    f"{layer}/kernel:0", data=rng.normal(size=shape).astype(np.float32) * 0.1
                )
                inner.create_dataset(f"{layer}/bias:0", data=np.zeros(shape[-1], np.float32))
        if spoil:
            spoil(file)
    return out.getvalue()


def keras_v3() -> bytes:
    from models.catalog import CATALOG

    return CATALOG["digits/keras/small"].weights_path.read_bytes()


def tflite_model():
    """A dense layer over a 28x28 image, as the schema's object tree that cases may spoil."""
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], buffer: int):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = (
            name.encode(),
            shape,
            schema.TensorType.FLOAT32,
            buffer,
        )
        return made

    rng, model, graph = np.random.default_rng(0), schema.ModelT(), schema.SubGraphT()
    code, op = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    op.opcodeIndex, op.inputs, op.outputs = 0, [0, 1, 2], [3]
    op.builtinOptionsType, op.builtinOptions = (
        schema.BuiltinOptions.FullyConnectedOptions,
        schema.FullyConnectedOptionsT(),
    )
    graph.tensors = [
        tensor("image", [1, 28, 28, 1], 0),
        tensor("w", [10, 784], 1),
        tensor("b", [10], 2),
        tensor("scores", [1, 10], 0),
    ]
    graph.operators, graph.inputs, graph.outputs, graph.name = [op], [0], [3], b"main"
    model.version, model.operatorCodes, model.subgraphs, model.description = 3, [code], [graph], b"test"
    values = [
        b"",
        (rng.normal(size=(10, 784)) * 0.1).astype(np.float32).tobytes(),
        np.zeros(10, np.float32).tobytes(),
    ]
    model.buffers = []
    for value in values:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value, np.uint8) if value else None
        model.buffers.append(buffer)
    return model


def pack_tflite(model) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tflite() -> bytes:
    return pack_tflite(tflite_model())


def field(number: int, value: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    size, text = len(value), b""
    while size > 127:
        text, size = text + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + text + bytes([size]) + value


def saved_model(
    operators=("Placeholder", "VarHandleOp", "Conv2D", "Softmax"), function: str = "Identity"
) -> bytes:
    """A ZIP of a folder whose graph names these operators; it passes the check and is too bare to be
    converted.
    """
    nodes = b"".join(field(1, field(1, b"n") + field(2, op.encode())) for op in operators)
    library = field(2, field(1, field(3, field(1, b"f") + field(2, function.encode()))))
    return make_zip(
        {
            "m/saved_model.pb": b"\x08\x01" + field(2, field(2, nodes + library)),
            "m/variables/variables.index": b"x",
            "m/variables/variables.data-00000-of-00001": b"x",
        }
    )


def make_zip(entries: dict[str, bytes], **options: object) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return out.getvalue()


GOODS = {
    "state_zip": state_zip,
    "state_legacy": state_legacy,
    "module_zip": module_zip,
    "script": script,
    "safetensors": safetensors,
    "onnx": onnx,
    "h5": h5,
    "keras_v3": keras_v3,
    "tflite": tflite,
    "saved_model": saved_model,
}
FORMATS = {
    "state_zip": "state_dict",
    "state_legacy": "state_dict",
    "module_zip": "torch_module",
    "script": "torchscript",
    "safetensors": "safetensors",
    "onnx": "onnx",
    "h5": "keras_h5",
    "keras_v3": "keras_v3",
    "tflite": "tflite",
    "saved_model": "saved_model",
}
