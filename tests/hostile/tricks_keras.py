"""Tricks with Keras files: code hidden where layers are wrapped in layers, functions of foreign modules under
harmless names, sizes that follow only from what is before a layer, chunks and attributes that unfold when
HDF5 reads them."""

import io
import json
import zipfile
from functools import partial

import h5py
import numpy as np

from tests.hostile import goods
from tests.hostile.bad_keras import LAMBDA, _insert, _outer, _set, config, layer, v3
from tests.hostile.case import Case

V3_LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "registered_name": None,
    "config": {
        "name": "l",
        "function": {
            "class_name": "__lambda__",
            "config": {"code": "4wEA", "defaults": None, "closure": None},
        },
    },
}


def v3_layer(
    name: str, module: str | None = "keras.layers", registered: str | None = None, **options: object
) -> dict:
    return {
        "module": module,
        "class_name": name,
        "registered_name": registered,
        "config": {"name": "odd", **options},
    }


def inside(odd: dict, depth: int) -> dict:
    """A functional model in a functional model, the odd layer in the innermost."""
    made = odd
    for level in range(depth):
        made = {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "registered_name": None,
            "config": {"name": f"m{level}", "layers": [made], "input_layers": [], "output_layers": []},
        }
    return made


def dataset(**options: object) -> bytes:
    return goods.h5(spoil=lambda file: file["model_weights"].create_dataset("odd", **options))


def many_datasets(file: h5py.File) -> None:
    group = file["model_weights"].create_group("many")
    for number in range(40):
        group.create_dataset(
            str(number),
            data=np.zeros(4_000_000, "f8"),
            compression="gzip",
            compression_opts=9,
            chunks=(100_000,),
        )


def long_strings(file: h5py.File) -> None:
    file["model_weights"].create_dataset(
        "odd", data=np.zeros(60, "S900000"), compression="gzip", compression_opts=9
    )


def never_written(file: h5py.File) -> None:
    for number in range(20):
        file["model_weights"].create_dataset(f"odd{number}", shape=(20_000,), dtype="f4")


def wide_layers(units: int, stored: int) -> bytes:
    """Two dense layers of so many units, and a stored row of that length, so that the numbers look
    familiar.
    """
    made = config(layer("Dense", units=units, activation="relu"))
    made["config"]["layers"].insert(3, {"class_name": "Dense", "config": {"name": "odd2", "units": units}})

    def spoil(file: h5py.File) -> None:
        file["model_weights"].create_dataset("wide", data=np.zeros(stored, "f4"))

    return goods.h5(made, spoil)


def big_attribute(file: h5py.File) -> None:
    file["model_weights"].attrs["weight_names"] = np.zeros(60_000, "S1")
    file.attrs["model_config"] = "[" * 60_000


def config_twice() -> bytes:
    """The same key twice: a harmless class for the reader that takes the first, a Lambda for the one that
    takes the last.
    """
    text = json.dumps(goods.keras2_config())
    return goods.h5(
        spoil=lambda file: file.attrs.__setitem__(
            "model_config",
            text.replace('{"class_name": "Flatten"', '{"class_name": "Flatten", "class_name": "Lambda"', 1),
        )
    )


def _with_metadata(value: bytes) -> bytes:
    return goods.rezip(goods.keras_v3(), {"metadata.json": value})


def _named(old: str, new: str) -> bytes:
    """The archive with an entry under another name, so that the one that is needed is missing or doubled."""
    data = goods.keras_v3()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        value = archive.read(old)
    return goods.rezip(data, {old: None, new: value})


WRAPPED = {
    "TimeDistributed": v3_layer("TimeDistributed", layer=V3_LAMBDA),
    "Bidirectional": v3_layer("Bidirectional", layer=V3_LAMBDA),
    "SpectralNormalization": v3_layer("SpectralNormalization", layer=V3_LAMBDA),
    "Wrapper": v3_layer("Wrapper", layer=V3_LAMBDA),
    "a model": inside(V3_LAMBDA, 1),
    "a model in a model": inside(V3_LAMBDA, 2),
    "thirty models": inside(V3_LAMBDA, 30),
    "a Sequential": v3_layer("Sequential", "keras", layers=[V3_LAMBDA]),
    "an activation": v3_layer("Activation", activation=V3_LAMBDA),
    "a dtype": v3_layer("Dense", units=10, dtype=V3_LAMBDA),
    "a list": v3_layer("Add", anything=[[[V3_LAMBDA]]]),
    "a constraint": v3_layer("Dense", units=10, kernel_constraint=V3_LAMBDA),
    "a regularizer": v3_layer("Dense", units=10, bias_regularizer=V3_LAMBDA),
    "build_config": v3_layer("Dense", units=10) | {"build_config": {"input_shape": V3_LAMBDA}},
    "inbound nodes": v3_layer("Dense", units=10) | {"inbound_nodes": [{"args": [V3_LAMBDA], "kwargs": {}}]},
    "keyword arguments": (
        v3_layer("Dense", units=10) | {"inbound_nodes": [{"args": [], "kwargs": {"mask": V3_LAMBDA}}]}
    ),
}
FUNCTIONS = {
    "a harmless name in a foreign module": {
        "class_name": "function",
        "module": "antigravity",
        "config": "relu",
        "registered_name": "function",
    },
    "a harmless name in os": {
        "class_name": "function",
        "module": "os",
        "config": "relu",
        "registered_name": "relu",
    },
    "a harmless name, registered elsewhere": {
        "class_name": "function",
        "module": "builtins",
        "config": "relu",
        "registered_name": "my>relu",
    },
    "a dotted name": {
        "class_name": "function",
        "module": "builtins",
        "config": "keras.utils.get_file",
        "registered_name": "function",
    },
    "a list for a name": {
        "class_name": "function",
        "module": "builtins",
        "config": ["relu"],
        "registered_name": "function",
    },
    "eval": {"class_name": "function", "module": "builtins", "config": "eval", "registered_name": "function"},
    "deserialize": {
        "class_name": "function",
        "module": "keras.layers",
        "config": "deserialize",
        "registered_name": "function",
    },
}
FOREIGN = {
    "a module within keras that is no layers": v3_layer(
        "get_file", "keras.src.utils.file_utils", origin="file:///etc/passwd"
    ),
    "a loader": v3_layer("load_model", "keras.saving", filepath="/tmp/x.keras"),
    "the function decorator": v3_layer("function", "keras"),
    "a module that begins like Keras": v3_layer("Dense", "keras_evil.layers", units=10),
    "a module that begins like TensorFlow": v3_layer("Dense", "tensorflow.keras_evil", units=10),
    "a list for a module": v3_layer("Dense", ["keras"], units=10),
    "a number for a class": v3_layer(7, units=10),
    "an object for a class": v3_layer({"a": 1}, units=10),
    "an own class": v3_layer("MyDense", None, "my_package>MyDense", units=10),
    "a known class under an own name": v3_layer("Dense", "keras.layers", "my_package>Dense", units=10),
    "a FeatureSpace": v3_layer("FeatureSpace", "keras.utils"),
    "StringLookup with a file": v3_layer("StringLookup", vocabulary="/etc/passwd"),
    "IntegerLookup": v3_layer("IntegerLookup", vocabulary="/etc/passwd"),
    "HashedCrossing": v3_layer("HashedCrossing"),
    "MelSpectrogram": v3_layer("MelSpectrogram"),
    "JaxLayer": v3_layer("JaxLayer"),
    "an optimizer": v3_layer("Adam", "keras.optimizers"),
    "a callback": v3_layer("LambdaCallback", "keras.callbacks"),
    "a data loader": v3_layer("image_dataset_from_directory", "keras.utils"),
    "a quantizer": v3_layer("AbsMaxQuantizer", "keras.quantizers"),
    "a RemoteMonitor": v3_layer("RemoteMonitor", "keras.callbacks", root="http://127.0.0.1"),
}

CASES = [
    *(
        Case(f"keras Lambda in {where}", "keras_v3", partial(lambda odd: v3(_insert(odd)), odd))
        for where, odd in WRAPPED.items()
    ),
    *(
        Case(f"keras activation of {what}", "keras_v3", partial(lambda odd: v3(_set("activation", odd)), odd))
        for what, odd in FUNCTIONS.items()
    ),
    *(
        Case(
            f"keras initializer of {what}",
            "keras_v3",
            partial(lambda odd: v3(_set("kernel_initializer", odd)), odd),
        )
        for what, odd in FUNCTIONS.items()
    ),
    *(
        Case(f"keras with {what}", "keras_v3", partial(lambda odd: v3(_insert(odd)), odd))
        for what, odd in FOREIGN.items()
    ),
    Case(
        "keras of an own registered class",
        "keras_v3",
        lambda: v3(lambda made: made.update(registered_name="my>Model")),
    ),
    Case("keras of a foreign module", "keras_v3", lambda: v3(lambda made: made.update(module="os"))),
    Case(
        "keras layer by a foreign registered name",
        "keras_v3",
        lambda: v3(_outer("registered_name", "my>Conv2D")),
    ),
    Case("keras configuration elsewhere", "keras_v3", lambda: _named("config.json", "x/config.json")),
    Case("keras weights elsewhere", "keras_v3", lambda: _named("model.weights.h5", "x/model.weights.h5")),
    Case(
        "keras weights of another kind", "keras_v3", lambda: _named("model.weights.h5", "model.weights.npz")
    ),
    Case(
        "keras with a ZIP in it",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"model.weights.h5": goods.keras_v3()}),
    ),
    Case(
        "keras with a pickle for weights",
        "keras_v3",
        lambda: goods.rezip(goods.keras_v3(), {"model.weights.h5": b"\x80\x02cos\nsystem\n."}),
    ),
    Case(
        "h5 with a Lambda in a wrapper",
        "h5",
        lambda: goods.h5(config(layer("TimeDistributed", layer=LAMBDA))),
        "TimeDistributed",
    ),
    Case("h5 with a key twice", "h5", config_twice, "Lambda"),
    Case(
        "h5 with a pooling of no size",
        "h5",
        lambda: goods.h5(config(layer("MaxPooling2D", pool_size=[10**7, 1]))),
    ),
    Case(
        "h5 of chunks without measure",
        "h5",
        lambda: dataset(shape=(10,), maxshape=(None,), chunks=(400_000_000,), dtype="f4", compression="gzip"),
        "shape",
    ),
    Case("h5 that unfolds little by little", "h5", lambda: goods.h5(spoil=many_datasets)),
    Case("h5 of long strings", "h5", lambda: goods.h5(spoil=long_strings)),
    Case("h5 of values never written", "h5", lambda: goods.h5(spoil=never_written), "shape"),
    Case("h5 with a configuration of brackets", "h5", lambda: goods.h5(spoil=big_attribute), "configuration"),
    Case(
        "h5 with an image beyond measure",
        "h5",
        lambda: goods.h5(config(layer("Resizing", height=60_000, width=60_000))),
    ),
    Case(
        "h5 with a picture of pictures",
        "h5",
        lambda: goods.h5(config(layer("RepeatVector", n=10**6))),
        "RepeatVector",
    ),
]
GROWING = {  # refused when the network is opened: what a layer makes follows from what is before it
    "weights beyond the file": lambda: wide_layers(40_000, 40_000),
    "an image enlarged step by step": lambda: _enlarged(),
}


def _enlarged() -> bytes:
    made = config()
    for number in range(3):
        made["config"]["layers"].insert(
            1, {"class_name": "UpSampling2D", "config": {"name": f"up{number}", "size": [30, 30]}}
        )
    return goods.h5(made)
