"""Bad graphs: ONNX, TFLite, SavedModel and safetensors that lie about their tensors or ask for what they must
not.
"""

import json
from functools import partial

import numpy as np

from tests.hostile import goods
from tests.hostile.case import Case


def onnx(change) -> bytes:
    """The good graph, spoiled by `change(model)`."""
    model = goods.onnx_model()
    change(model)
    return model.SerializeToString()


def _node(kind: str, constant=None, **options: object):
    """Puts an operator before the convolution; `constant` becomes its (second) input."""

    def change(model) -> None:
        from onnx import helper, numpy_helper

        inputs = ["image"] if kind not in ("ConstantOfShape", "Range") else []
        if constant is not None:
            for place, value in enumerate(constant if isinstance(constant, tuple) else (constant,)):
                model.graph.initializer.append(numpy_helper.from_array(np.array(value), f"k{place}"))
                inputs.append(f"k{place}")
        elif not inputs:
            model.graph.node.insert(0, helper.make_node("Shape", ["image"], ["size"]))
            inputs = ["size"] * (3 if kind == "Range" else 1)
        model.graph.node.insert(
            1 if inputs[0] == "size" else 0, helper.make_node(kind, inputs, ["odd"], **options)
        )

    return change


def _external(location: str):
    def change(model) -> None:
        from onnx import TensorProto

        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def _hidden_external(model) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="../../secret")


def _constant_external(model) -> None:
    from onnx import TensorProto, helper

    tensor = TensorProto(dims=[4], data_type=1, name="c", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=tensor))


def _function(model) -> None:
    from onnx import helper

    model.functions.append(
        helper.make_function(
            "own", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 13)]
        )
    )


def _branch(model) -> None:
    from onnx import helper

    inner = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["o"])], "g", [], [helper.make_empty_tensor_value_info("o")]
    )
    model.graph.node.insert(0, helper.make_node("If", ["w1"], ["odd"], then_branch=inner, else_branch=inner))


def _sparse(model) -> None:
    from onnx import helper, numpy_helper

    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(np.ones(1, np.float32), "s"),
            numpy_helper.from_array(np.zeros(1, np.int64), "i"),
            [10**6, 10**6],
        )
    )


def _set(path: str, value: object):
    def change(model) -> None:
        place = model
        *parts, last = path.split(".")
        for part in parts:
            place = place[int(part)] if part.isdigit() else getattr(place, part)
        if last.isdigit():
            place[int(last)] = value
        else:
            setattr(place, last, value)

    return change


def tflite(change) -> bytes:
    """The good FlatBuffer, spoiled by `change(model)`."""
    model = goods.tflite_model()
    change(model)
    return goods.pack_tflite(model)


def _operator(number: int, custom: bytes | None = None):
    def change(model) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = number, min(number, 127), custom

    return change


def _nan(model) -> None:
    model.graph.initializer[0].raw_data = np.full(100, np.nan, np.float32).tobytes()


def safetensors(change) -> bytes:
    data = goods.safetensors()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    return goods.pack_safetensors(header, data[8 + size :])


def _tensor(**values: object):
    return lambda header: header["conv2.weight"].update(values)


IMAGE = "graph.input.0.type.tensor_type.shape.dim"
CASES = [
    *(
        Case(f"onnx outside: {place}", "onnx", partial(lambda p: onnx(_external(p)), place), "outside")
        for place in (
            "weights.bin",
            "/etc/passwd",
            "../../../etc/shadow",
            "..\\secret",
            "file:///etc/passwd",
            "/proc/self/environ",
        )
    ),
    Case("onnx outside, without saying so", "onnx", lambda: onnx(_hidden_external), "outside"),
    Case("onnx constant outside", "onnx", lambda: onnx(_constant_external), "outside"),
    *(
        Case(f"onnx with {name}", "onnx", partial(lambda c: onnx(c), change), says)
        for name, change, says in (
            ("a huge ConstantOfShape", _node("ConstantOfShape", [10**5, 10**5, 10**5]), "ConstantOfShape"),
            ("a computed Range", _node("Range"), "Range"),
            ("a huge Range", _node("Range", ([0, 10**12, 1],)), "Range"),
            ("a huge Expand", _node("Expand", [10**6, 10**6, 28, 28]), "Expand"),
            ("a huge Tile", _node("Tile", [10**6, 1, 10**4, 1]), "Tile"),
            ("a huge Pad", _node("Pad", [0, 0, 10**7, 0, 0, 0, 0, 0]), "Pad"),
            ("a Loop", _node("Loop"), "Loop"),
            ("a Scan", _node("Scan"), "Scan"),
            ("a branch", _branch, "If"),
            ("an operator of its own", _node("Evil", domain="my.domain"), "Evil"),
            ("an unknown operator", _node("Evil"), "Evil"),
            ("contributed operators", _node("FusedConv", domain="com.microsoft"), "FusedConv"),
            ("classical learning", _node("Scaler", domain="ai.onnx.ml"), "Scaler"),
            ("an LSTM", _node("LSTM"), "LSTM"),
            ("a detector's operator", _node("NonMaxSuppression"), "detection"),
            ("sound", _node("STFT"), "sound"),
            ("text", _node("StringNormalizer"), "text"),
            ("random numbers", _node("RandomNormal", shape=[10**9]), "RandomNormal"),
            ("functions", _function, "functions"),
            ("an absurd sparse tensor", _sparse, "sparse"),
            ("values that are not finite", _nan, "finite"),
            ("an old opset", _set("opset_import.0.version", 6), "opset"),
            ("no opset", lambda m: m.ClearField("opset_import"), "opset"),
            ("no nodes", lambda m: m.graph.ClearField("node"), "nodes"),
            ("an absurd weight", _set("graph.initializer.0.dims.0", 2**40), "shape"),
            ("a negative weight", _set("graph.initializer.0.dims.0", -4), "shape"),
            ("a weight that lies", _set("graph.initializer.0.dims.0", 5), "values"),
            ("text for a weight", _set("graph.initializer.0.data_type", 8), "no numbers"),
            ("an unknown kind of weight", _set("graph.initializer.0.data_type", 99), ""),
            ("an absurd input", _set(f"{IMAGE}.2.dim_value", 10**9), "absurd"),
            ("a cycle", _set("graph.node.0.input.0", "r"), "valid"),
            ("a missing value", _set("graph.node.1.input.0", "nowhere"), "valid"),
            ("a name used twice", _set("graph.node.1.output.0", "c"), "valid"),
        )
    ),
    Case("onnx cut off", "onnx", lambda: goods.onnx()[:-50]),
    Case("onnx with a tail", "onnx", lambda: goods.onnx() + b"\xff\xff\xff"),
    *(
        Case(f"tflite with {name}", "tflite", partial(lambda c: tflite(c), change), says)
        for name, change, says in (
            ("an operator of its own", _operator(32, b"evil"), "evil"),
            ("a While", _operator(119), "WHILE"),
            ("an If", _operator(118), "IF"),
            ("a hash table", _operator(137), "HASHTABLE"),
            ("a variable", _operator(142), "VAR_HANDLE"),
            ("an LSTM", _operator(16), "LSTM"),
            ("a call", _operator(129), "CALL_ONCE"),
            ("a broadcast", _operator(130), "BROADCAST_TO"),
            ("an unknown operator", _operator(999), ""),
            ("two graphs", lambda m: m.subgraphs.append(m.subgraphs[0]), "graphs"),
            ("another version", _set("version", 2), "version"),
            ("an absurd tensor", _set("subgraphs.0.tensors.0.shape", [1, 100_000, 100_000, 1]), "absurd"),
            ("a negative tensor", _set("subgraphs.0.tensors.1.shape", [-10, 784]), "absurd"),
            ("weights that lie", _set("subgraphs.0.tensors.1.shape", [11, 784]), "values"),
            ("a tensor that is not there", _set("subgraphs.0.operators.0.inputs", [0, 99, 2]), "refers"),
            ("an output that is not there", _set("subgraphs.0.outputs", [-7]), "refers"),
            ("no operators", _set("subgraphs.0.operators", []), "no operators"),
            ("no inputs", _set("subgraphs.0.inputs", []), "no operators"),
            ("a buffer that is not there", _set("subgraphs.0.tensors.1.buffer", 77), "damaged"),
            ("weights outside", _set("buffers.1.offset", 4096), "outside"),
        )
    ),
    Case("tflite cut off", "tflite", lambda: goods.tflite()[:-20_000]),
    Case("tflite with noise", "tflite", lambda: goods.tflite()[:8] + b"\xff" * 2000, "damaged"),
    *(
        Case(
            f"saved model with {name}", "saved_model", partial(goods.saved_model, ("Placeholder", name)), name
        )
        for name in (
            "ReadFile",
            "WriteFile",
            "PyFunc",
            "MatchingFiles",
            "LoadLibrary",
            "ShellExec",
            "While",
            "TextLineDataset",
        )
    ),
    *(
        Case(
            f"saved model with {name} in a function",
            "saved_model",
            partial(goods.saved_model, ("Placeholder",), name),
            name,
        )
        for name in ("ReadFile", "WriteFile", "PyFuncStateless")
    ),
    Case(
        "saved model twice",
        "saved_model",
        lambda: goods.rezip(goods.saved_model(), {"n/saved_model.pb": b"\x08\x01"}),
        "SavedModels",
    ),
    Case(
        "saved model with a script",
        "saved_model",
        lambda: goods.rezip(goods.saved_model(), {"m/run.py": b"x"}),
        "run.py",
    ),
    Case(
        "saved model with assets",
        "saved_model",
        lambda: goods.rezip(goods.saved_model(), {"m/assets/vocabulary.txt": b"x"}),
        "assets",
    ),
    Case(
        "saved model without operators",
        "saved_model",
        lambda: goods.rezip(goods.saved_model(), {"m/saved_model.pb": b"\x08\x01"}),
        "no operators",
    ),
    Case(
        "saved model of noise",
        "saved_model",
        lambda: goods.rezip(goods.saved_model(), {"m/saved_model.pb": b"\x12\xff\xff\x01"}),
        "damaged",
    ),
    *(
        Case(f"safetensors with {name}", "safetensors", partial(lambda c: safetensors(c), change))
        for name, change in (
            ("an absurd shape", _tensor(shape=[2**30, 2**30])),
            ("a negative shape", _tensor(shape=[-8, 4, 5, 5])),
            ("a shape of fractions", _tensor(shape=[8.0, 4, 5, 5])),
            ("a shape that lies", _tensor(shape=[8, 4, 5, 6])),
            ("offsets beyond the end", _tensor(data_offsets=[0, 2**40])),
            ("offsets turned round", _tensor(data_offsets=[3200, 0])),
            ("negative offsets", _tensor(data_offsets=[-3200, 0])),
            ("overlapping tensors", _tensor(data_offsets=[0, 3200])),
            ("an unknown kind", _tensor(dtype="F1")),
            ("a foreign key", _tensor(path="/etc/passwd")),
            ("a text for a tensor", lambda header: header.__setitem__("conv2.weight", "x")),
            ("no tensors", lambda header: header.clear()),
        )
    ),
    Case(
        "safetensors with a doubled name",
        "safetensors",
        lambda: goods.pack_safetensors(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"0000",
        ),
    ),
    Case(
        "safetensors with a broken header",
        "safetensors",
        lambda: goods.pack_safetensors(b'{"a":{', b"0000"),
        "JSON",
    ),
    Case(
        "safetensors nested too deeply",
        "safetensors",
        lambda: goods.pack_safetensors(b'{"a":' + b"[" * 100_000, b""),
        "JSON",
    ),
    Case("safetensors with a tail", "safetensors", lambda: goods.safetensors() + b"x", "no tensor"),
    Case("safetensors cut off", "safetensors", lambda: goods.safetensors()[:-1]),
]
