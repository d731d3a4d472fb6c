"""Files as Keras 2 wrote them, made from models of Keras 3: no Keras 2 is installed here.

A model is given as entries (class, options, what it reads); the twin of Keras 3 lends its weights.
"""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np

ENGINE = {"Functional": "keras.src.engine.functional", "Sequential": "keras.src.engine.sequential"}


def entry(kind: str, name: str, reads: list | None = None, **options) -> dict:
    """A layer of a functional model. reads: [[layer, call, output, keyword arguments], ...] of one call."""
    config = {"name": name, "trainable": True, "dtype": "float32", **options}
    nodes = [] if reads is None else reads if reads and isinstance(reads[0][0], list) else [reads]
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": nodes}


def image(name: str, shape: tuple[int, ...]) -> dict:
    return entry("InputLayer", name, batch_input_shape=[None, *shape], sparse=False, ragged=False)


def functional(name: str, layers: list[dict], reads: list | None = None) -> dict:
    first, last = layers[0]["name"], layers[-1]["name"]
    calls = 1 if layers[-1]["class_name"] in ENGINE else 0
    made = {
        "name": name,
        "trainable": True,
        "layers": layers,
        "input_layers": [[first, 0, 0]],
        "output_layers": [[last, calls, 0]],
    }
    return {
        "class_name": "Functional",
        "config": made,
        "name": name,
        "inbound_nodes": [reads] if reads else [],
    }


def sequential(name: str, layers: list[dict]) -> dict:
    return {"class_name": "Sequential", "config": {"name": name, "layers": layers}}


def with_modules(value):
    """The same with the modules that TensorFlow 2.13 to 2.15 wrote."""
    if isinstance(value, dict):
        made = {key: with_modules(item) for key, item in value.items()}
        if "class_name" in value:
            module = ENGINE.get(value["class_name"], "keras.layers")
            made |= {"module": module, "registered_name": None}
        return made
    return [with_modules(item) for item in value] if isinstance(value, list) else value


def h5(path: Path, config: dict, groups: dict[str, list[tuple[str, np.ndarray]]]) -> Path:
    """Writes an `.h5`. groups: the weights of each outermost layer, by its name, named, in order."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = b"2.15.0", b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in groups]
        for name, arrays in groups.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([key.encode() for key, _ in arrays], dtype="S60")
            for key, array in arrays:
                group[key] = array
    return path


def v3(path: Path, config: dict, stored: dict[str, list[np.ndarray]]) -> Path:
    """Writes a `.keras` of version 2. stored: each layer's weights by its path in the store."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for place, arrays in stored.items():
            for number, array in enumerate(arrays):
                file[f"{place}/vars/{number}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0", "date_saved": "2024"}))
        archive.writestr("config.json", json.dumps(with_modules(config)))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path
