"""The configuration of a Keras model: read, and checked by allow-list before Keras sees it."""

import json
import math
from pathlib import Path
from typing import Any

import h5py

from engine.errors import BadInput
from engine.formats.keras.known import (
    ACTIVATIONS,
    CODE,
    COUNTED,
    HELPERS,
    LAYERS,
    MAX_SIDE,
    MODULES,
    NUMBERS,
    OF_FUNCTIONS,
    OF_OPERATIONS,
    OPERATIONS,
    SERIES,
    SIDES,
    TENSORFLOW,
)
from engine.store import zips as archives

MAX_CONFIG, MAX_LAYERS = 30_000_000, 5_000
ADVICE = "save the classifier again with `model.save('model.keras')`."


def read_config(path: Path) -> dict:
    """Returns the model's configuration from either kind of file, unchecked."""
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if is_zip:
        with archives.open_checked(path) as archive:
            return parse(archives.read_entry(archive, "config.json", MAX_CONFIG))
    with h5py.File(path, "r") as file:
        return parse(file.attrs["model_config"])


def version_of(path: Path) -> str:
    """Returns the version of Keras that wrote a file, "" where it doesn't tell."""
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    try:
        if is_zip:
            with archives.open_checked(path) as archive:
                told = json.loads(archives.read_entry(archive, "metadata.json", MAX_CONFIG))
                return str(told.get("keras_version", ""))
        with h5py.File(path, "r") as file:
            told = file.attrs.get("keras_version", b"")
            return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    except (ValueError, AttributeError, RecursionError):
        return ""


def parse(text: Any) -> dict:
    """Returns a configuration from its JSON. Raises BadInput when it describes no model."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
        config = json.loads(text) if len(text) <= MAX_CONFIG else None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or "class_name" not in config:
        raise BadInput(f"The Keras configuration is no description of a model: {ADVICE}")
    return config


def check_config(config: dict, dims: set[int]) -> None:
    """Raises BadInput for what is no layer of Keras for images, and for sizes that no stored weights have.

    dims: every size that a stored weight has in any of its axes.
    """
    if config["class_name"] not in ("Sequential", "Functional", "Model"):
        raise BadInput(
            f"The model is of the class '{str(config['class_name'])[:60]}', whose code is not in the file:"
            f" build it from layers of Keras and {ADVICE}"
        )
    layers = []
    _check_object(config, layers, 0)
    for name, value in layers:
        for key in ("units", "filters"):
            wanted = value.get(key)
            if wanted is not None and wanted not in dims:
                raise BadInput(
                    f"The layer '{name}' is said to have {str(wanted)[:20]} {key}, and no stored weights have"
                    f" that size: {ADVICE}"
                )


def _check_object(value: Any, layers: list, depth: int) -> None:
    if depth > 60:
        raise BadInput(f"The Keras configuration is nested too deeply: {ADVICE}")
    if isinstance(value, list):
        for item in value:
            _check_object(item, layers, depth + 1)
    if not isinstance(value, dict):
        return
    if "class_name" in value:
        _check_class(value, layers)
    for key, item in value.items():
        if (
            key in ("activation", "recurrent_activation")
            and isinstance(item, str)
            and item not in ACTIVATIONS
        ):
            raise BadInput(f"The activation '{item[:60]}' is not one of Keras' own: {ADVICE}")
        if key in COUNTED:
            _check_counts(key, item)
        if key not in (
            "compile_config",
            "training_config",
        ):  # never deserialized: models are opened uncompiled
            _check_object(item, layers, depth + 1)


def _check_class(value: dict, layers: list) -> None:
    name = str(value["class_name"])
    config = value.get("config")
    module, registered = value.get("module"), value.get("registered_name")
    if (
        name == "function"
        and isinstance(config, str)
        and config in ACTIVATIONS
        and module in OF_FUNCTIONS
        and registered in (None, name, config)
    ):
        return
    if name in ("TFOpLambda", "SlicingOpLambda") and _operator(config) in TENSORFLOW:
        return
    if name in ("__numpy__", "__tensor__") and _is_array(config):
        return
    if name in OPERATIONS and str(module).startswith(OF_OPERATIONS) and registered in (None, name):
        return
    if name in ("TFOpLambda", "SlicingOpLambda"):
        raise BadInput(
            f"The Keras model holds the TensorFlow operator '{_operator(config)[:60]}' as a"
            f" {name}, which has no counterpart among Keras' own layers here: replace it and {ADVICE}"
        )
    if name in CODE:
        raise BadInput(
            f"The Keras model holds a {name[:40]} layer, which can run any code when it is loaded: replace it"
            f" by layers of Keras and {ADVICE}"
        )
    if name in SERIES:
        raise BadInput(
            f"The Keras model holds a {name} layer, as networks for text, sound or series do, and Edgewise"
            " fits image classifiers: it is out of scope."
        )
    known = module is None or (
        isinstance(module, str) and any(module == m or module.startswith(m + ".") for m in MODULES)
    )
    foreign = not known or registered not in (None, name)
    if name not in LAYERS | HELPERS or foreign:
        raise BadInput(
            f"The Keras model holds '{(str(module) + '.' if foreign and module else '') + name[:60]}', which"
            f" is no layer of Keras for images: build it from Keras' own layers and {ADVICE}"
        )
    if name in LAYERS and isinstance(config, dict):
        layers.append((str(config.get("name", name))[:60], config))
        if len(layers) > MAX_LAYERS:
            raise BadInput(f"The Keras model has more than {MAX_LAYERS:,} layers: choose a smaller model.")


def _operator(config: Any) -> str:
    return str(config.get("function", "")) if isinstance(config, dict) else ""


def _is_array(config: Any) -> bool:
    """Tells whether a stored array is what it should be: numbers in lists, of a type of numbers."""
    if not isinstance(config, dict) or config.get("dtype") not in NUMBERS:
        return False
    values = [config.get("value")]
    while any(isinstance(value, list) for value in values):
        values = [part for value in values for part in (value if isinstance(value, list) else [value])]
        if len(values) > 100_000:
            return False
    return all(isinstance(value, int | float) for value in values)


def _check_counts(key: str, value: Any) -> None:
    if isinstance(value, list) and any(isinstance(item, list) for item in value):  # several inputs, or sides
        for item in value[:1000]:
            _check_counts(key, item)
        return
    numbers = value if isinstance(value, list) else [value]
    most = MAX_SIDE if key in SIDES else 100_000
    if (
        any(isinstance(n, int | float) and not -1 <= n <= most for n in numbers)
        or math.prod(max(int(n), 1) for n in numbers if isinstance(n, int)) > 50_000_000
    ):
        raise BadInput(
            f"The Keras configuration asks for {key} of {str(value)[:40]}, far more than an image classifier"
            f" has: {ADVICE}"
        )
