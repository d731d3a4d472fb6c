"""Bad Keras files: links and shapes in HDF5, code and foreign classes in configurations, odd entries in the
ZIP.
"""

import copy
import io
import json
import zipfile
from functools import partial

import h5py
import numpy as np

from tests.hostile import goods
from tests.hostile.case import Case

LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "l", "function": ["4wEAAAAAAAAA", None, None], "function_type": "lambda"},
}


def config(layer: dict | None = None, **dense: object) -> dict:
    """The good configuration with a layer more, or with other options of its dense layer."""
    made = copy.deepcopy(goods.keras2_config())
    if layer:
        made["config"]["layers"].insert(2, layer)
    made["config"]["layers"][-1]["config"].update(dense)
    return made


def layer(name: str, **options: object) -> dict:
    return {"class_name": name, "config": {"name": "odd", **options}}


def _linked(link) -> bytes:
    def spoil(file: h5py.File) -> None:
        file["model_weights/odd"] = link(file)

    return goods.h5(spoil=spoil)


def _dataset(**options: object) -> bytes:
    return goods.h5(spoil=lambda file: file["model_weights"].create_dataset("odd", **options))


def _virtual() -> bytes:
    def spoil(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((10,), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
        file["model_weights"].create_virtual_dataset("odd", layout)

    return goods.h5(spoil=spoil)


def _deep(file: h5py.File) -> None:
    group = file["model_weights"]
    for _ in range(60):
        group = group.create_group("g")


def _named_type(file: h5py.File) -> None:
    file["model_weights/odd"] = np.dtype("f4")


def _reference(file: h5py.File) -> None:
    file["model_weights"].create_dataset("odd", data=file["model_weights/conv"].ref, dtype=h5py.ref_dtype)


def _without_config(file: h5py.File) -> None:
    del file.attrs["model_config"]


def _nothing_of_keras(file: h5py.File) -> None:
    for name in list(file.attrs):
        del file.attrs[name]


def v3(change=None, **entries: bytes | None) -> bytes:
    """The shipped .keras file with its configuration changed, or with other entries."""
    data = goods.keras_v3()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        made = json.loads(archive.read("config.json"))
    if change:
        change(made)
        entries["config.json"] = json.dumps(made).encode()
    return goods.rezip(data, {name.replace("__", "/"): value for name, value in entries.items()})


def _insert(odd: dict):
    return lambda made: made["config"]["layers"].insert(1, odd)


def _set(key: str, value: object, place: int = -1):
    return lambda made: made["config"]["layers"][place]["config"].__setitem__(key, value)


def _outer(key: str, value: object, place: int = 1):
    return lambda made: made["config"]["layers"][place].__setitem__(key, value)


def _weights_with_link() -> bytes:
    data, out = goods.keras_v3(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        out.write(archive.read("model.weights.h5"))
    with h5py.File(out, "a") as file:
        file["odd"] = h5py.ExternalLink("/etc/passwd", "/")
    return goods.rezip(data, {"model.weights.h5": out.getvalue()})


FOREIGN = {
    "os.system as class": {
        "module": "os",
        "class_name": "system",
        "config": {"command": "touch edgewise_hostile_marker"},
        "registered_name": "system",
    },
    "function of os": {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "function",
    },
    "lambda": {"class_name": "__lambda__", "config": {"value": "4wEAAAAAAAAA"}},
    "Lambda layer": {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {
            "name": "l",
            "function": {
                "class_name": "__lambda__",
                "config": {"code": "4wEA", "defaults": None, "closure": None},
            },
        },
        "registered_name": None,
    },
    "TFSMLayer": {
        "module": "keras.layers",
        "class_name": "TFSMLayer",
        "config": {"filepath": "/tmp/x"},
        "registered_name": None,
    },
    "TorchModuleWrapper": {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"module": "gASV"},
        "registered_name": None,
    },
    "get_file": {
        "module": "keras.utils",
        "class_name": "get_file",
        "config": {"origin": "http://127.0.0.1/x"},
        "registered_name": None,
    },
    "registered class": {"module": None, "class_name": "Thing", "config": {}, "registered_name": "my>Thing"},
    "known name of a foreign module": {
        "module": "evil",
        "class_name": "Dense",
        "config": {"units": 10},
        "registered_name": None,
    },
    "typespec": {"class_name": "__typespec__", "module": "os", "config": {}},
    "loop of operations": {
        "class_name": "WhileLoop",
        "module": "keras.src.ops.core",
        "config": {"name": "loop"},
        "registered_name": "WhileLoop",
    },
    "operation of a foreign module": {
        "class_name": "Multiply",
        "module": "keras.src.opsy",
        "config": {"name": "product"},
        "registered_name": "my>Multiply",
    },
    "numpy value of text": {"class_name": "__numpy__", "config": {"value": ["x"], "dtype": "float32"}},
    "numpy value": {"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}},
}

CASES = [
    *(
        Case(f"h5 with {name}", "h5", partial(lambda c: goods.h5(c), config(made)), says)
        for name, made, says in (
            ("Lambda", LAMBDA, "Lambda"),
            ("TFOpLambda", layer("TFOpLambda", function="io.write_file"), "TFOpLambda"),
            ("SlicingOpLambda", layer("SlicingOpLambda"), "SlicingOpLambda"),
            ("own layer", layer("MyLayer"), "MyLayer"),
            ("dotted class", layer("os.system"), "os.system"),
            ("LSTM", layer("LSTM", units=10), "LSTM"),
            ("Embedding", layer("Embedding"), "Embedding"),
            ("Conv1D", layer("Conv1D", filters=4), "Conv1D"),
            ("foreign activation", layer("Activation", activation="os.system"), "os.system"),
            (
                "function in a function",
                layer("Activation", activation={"class_name": "function", "config": "eval"}),
                "function",
            ),
            (
                "nested Lambda",
                {"class_name": "Sequential", "config": {"name": "in", "layers": [LAMBDA]}},
                "Lambda",
            ),
            ("huge padding", layer("ZeroPadding2D", padding=[[10**9, 1], [1, 1]]), "padding"),
            ("huge upsampling", layer("UpSampling2D", size=[10**6, 10**6]), "size"),
            ("huge reshape", layer("Reshape", target_shape=[10**5, 10**5]), "target_shape"),
        )
    ),
    Case("h5 with huge units", "h5", lambda: goods.h5(config(units=10**9)), "units"),
    Case("h5 with units not stored", "h5", lambda: goods.h5(config(units=99_999)), "units"),
    Case("h5 with text for units", "h5", lambda: goods.h5(config(units="many"))),
    Case("h5 of an own class", "h5", lambda: goods.h5({"class_name": "MyModel", "config": {}}), "MyModel"),
    Case(
        "h5 with a huge input",
        "h5",
        lambda: goods.h5(config(layer("InputLayer", batch_input_shape=[None, 10**6, 10**6, 3]))),
    ),
    Case(
        "h5 nested too deeply",
        "h5",
        lambda: goods.h5(
            json.loads('{"class_name":"Sequential","config":' + '{"a":' * 90 + "1" + "}" * 90 + "}")
        ),
    ),
    Case(
        "h5 external link", "h5", lambda: _linked(lambda f: h5py.ExternalLink("/etc/passwd", "/")), "external"
    ),
    Case("h5 soft link", "h5", lambda: _linked(lambda f: h5py.SoftLink("/model_weights/conv")), "soft"),
    Case("h5 link in a circle", "h5", lambda: _linked(lambda f: f["model_weights"]), "circle"),
    Case(
        "h5 hard link to a data set",
        "h5",
        lambda: _linked(
            lambda f: f[
                (
                    "model_weights/conv/kernel:0"
                    if "kernel:0" in f["model_weights/conv"]
                    else "model_weights/conv/conv/kernel:0"
                )
            ]
        ),
        "twice",
    ),
    Case(
        "h5 external storage",
        "h5",
        lambda: _dataset(shape=(10,), dtype="u1", external=[("/etc/passwd", 0, 10)]),
        "outside",
    ),
    Case("h5 virtual data", "h5", _virtual, "other files"),
    Case(
        "h5 absurd shape",
        "h5",
        lambda: _dataset(shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000)),
        "shape",
    ),
    Case(
        "h5 absurd shape, compressed",
        "h5",
        lambda: _dataset(shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000), compression="gzip"),
        "shape",
    ),
    Case(
        "h5 decompression bomb",
        "h5",
        lambda: _dataset(data=np.zeros(50_000_000, "u1"), compression="gzip", compression_opts=9),
        "shape",
    ),
    Case("h5 plug-in filter", "h5", lambda: _dataset(data=np.zeros(100), compression="lzf"), "plug-in"),
    Case("h5 object references", "h5", lambda: goods.h5(spoil=_reference), "no numbers"),
    Case("h5 text of any length", "h5", lambda: _dataset(data="x", dtype=h5py.string_dtype()), "no numbers"),
    Case("h5 named type", "h5", lambda: goods.h5(spoil=_named_type), "named type"),
    Case("h5 groups too deep", "h5", lambda: goods.h5(spoil=_deep), "deep"),
    Case("h5 weights alone", "h5", lambda: goods.h5(spoil=_without_config), "without a network"),
    Case("h5 of something else", "h5", lambda: goods.h5(spoil=_nothing_of_keras), "no Keras model"),
    Case(
        "h5 broken configuration",
        "h5",
        lambda: goods.h5(spoil=lambda f: f.attrs.__setitem__("model_config", "{")),
        "configuration",
    ),
    Case("h5 cut off", "h5", lambda: goods.h5()[:2000], "damaged"),
    Case("h5 with noise", "h5", lambda: goods.h5()[:600] + bytes(range(256)) * 20, "damaged"),
    *(
        Case(f"keras with {name}", "keras_v3", partial(lambda odd: v3(_insert(odd)), odd))
        for name, odd in FOREIGN.items()
    ),
    *(
        Case(f"keras layer turned {name}", "keras_v3", partial(lambda c: v3(c), change))
        for name, change in (
            ("to module os", _outer("module", "os")),
            ("to builtins.eval", _outer("class_name", "eval")),
            ("to a registered one", _outer("registered_name", "evil>Conv")),
            ("to huge units", _set("units", 10**8)),
            ("to a foreign activation", _set("activation", "my_activation")),
            (
                "to an initializer of os",
                _set("kernel_initializer", {"module": "os", "class_name": "system", "config": {}}),
            ),
            ("to a Lambda regularizer", _set("kernel_regularizer", LAMBDA)),
            ("to a huge input", _outer("build_config", {"input_shape": [None, 10**9]}, -1)),
            ("to huge strides", _set("strides", [10**7, 1], 1)),
        )
    ),
    Case(
        "keras of an own class",
        "keras_v3",
        lambda: v3(lambda made: made.update(class_name="MyModel", module="my")),
    ),
    Case("keras with assets", "keras_v3", lambda: v3(assets__vocabulary_txt=b"x"), "assets"),
    Case(
        "keras with a script",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"setup.py": b"x"}),
        "setup.py",
    ),
    Case(
        "keras with a pickle", "keras_v3", lambda: goods.rezip(goods.keras_v3(), {"model.weights.pkl": b"x"})
    ),
    Case(
        "keras without weights",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"model.weights.h5": None}),
        "lacks",
    ),
    Case(
        "keras with noise for weights",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"model.weights.h5": b"\x89HDF\r\n\x1a\n" + b"x" * 999}),
    ),
    Case("keras with a linked weight", "keras_v3", _weights_with_link, "external"),
    Case(
        "keras with broken configuration",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"config.json": b"{"}),
        "configuration",
    ),
    Case(
        "keras with a list for configuration",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"config.json": b"[]"}),
        "configuration",
    ),
    Case("keras cut off", "keras_v3", lambda: goods.keras_v3()[:50_000], "damaged"),
]
