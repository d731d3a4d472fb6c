"""Keras files checked before Keras sees them: HDF5 links, shapes and storage, and the configuration by
allow-list.

`.h5` holds the configuration as an attribute, `.keras` is a ZIP of config.json and an HDF5 file of weights.
"""

import io
import json
import math
from pathlib import Path
from typing import Any

import h5py

from engine.errors import BadInput
from engine.formats import refused
from engine.store import zips as archives

MAX_VALUES = 150_000_000
MAX_CHUNK = 16_000_000  # bytes that are read at once, however little of them is used
MAX_OBJECTS, MAX_DEPTH, MAX_CONFIG, MAX_LAYERS = 50_000, 40, 30_000_000, 5_000
ADVICE = "save the classifier again with `model.save('model.keras')`."
ENTRIES = {"config.json", "metadata.json", "model.weights.h5"}

LAYERS = set(
    """
Sequential Functional Model InputLayer Input Dense Conv2D DepthwiseConv2D SeparableConv2D Conv2DTranspose
Flatten Reshape
Permute Dropout SpatialDropout2D GaussianNoise GaussianDropout AlphaDropout BatchNormalization
BatchNormalizationV1
SyncBatchNormalization LayerNormalization GroupNormalization UnitNormalization Activation ReLU LeakyReLU PReLU
ELU
ThresholdedReLU Softmax MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D Add Subtract
Multiply Average
Maximum Minimum Concatenate ZeroPadding2D Cropping2D UpSampling2D Rescaling Normalization Resizing CenterCrop
RandomFlip
RandomRotation RandomZoom RandomContrast RandomTranslation RandomCrop RandomBrightness ActivityRegularization
Identity
""".split()
)
HELPERS = set(
    """
Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal Identity
GlorotUniform GlorotNormal
HeNormal HeUniform LecunNormal LecunUniform L1 L2 L1L2 MaxNorm NonNeg UnitNorm MinMaxNorm DTypePolicy Policy
__tuple__ __keras_tensor__ SeedGenerator
""".split()
)
ACTIVATIONS = set(
    """
linear relu relu6 elu selu softplus softsign softmax log_softmax tanh sigmoid hard_sigmoid exponential gelu
swish silu
hard_swish hard_silu mish leaky_relu celu
""".split()
)
SERIES = {
    "LSTM",
    "GRU",
    "SimpleRNN",
    "Bidirectional",
    "TimeDistributed",
    "Embedding",
    "TextVectorization",
    "Conv1D",
    "MultiHeadAttention",
    "ConvLSTM2D",
    "MaxPooling1D",
    "GlobalMaxPooling1D",
    "GlobalAveragePooling1D",
    "StringLookup",
}
CODE = {
    "Lambda",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "TFOpLambda",
    "SlicingOpLambda",
    "__lambda__",
    "TensorFlowOpLayer",
    "Custom",
    "function",
    "__typespec__",
    "__numpy__",
    "__tensor__",
}
OF_FUNCTIONS = (
    None,
    "builtins",
    "keras.activations",
    "keras.src.activations.activations",
    "keras.ops",
    "keras.src.activations",
)
MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
MAX_SIDE, SIDES = (
    4_096,
    (
        "height",
        "width",
        "size",
        "padding",
        "cropping",
        "kernel_size",
        "pool_size",
        "strides",
        "dilation_rate",
    ),
)
COUNTED = {
    "units",
    "filters",
    "kernel_size",
    "pool_size",
    "strides",
    "padding",
    "size",
    "target_shape",
    "dilation_rate",
    "depth_multiplier",
    "cropping",
    "height",
    "width",
    "batch_shape",
    "batch_input_shape",
    "input_shape",
    "shape",
    "n",
    "input_dim",
    "groups",
}


def check(path: Path) -> None:
    """Checks an `.h5` or `.keras` file. Raises BadInput with the first thing wrong."""
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    config, dims = _of_zip(path) if is_zip else _of_hdf5(path)
    _check_config(config, dims)


def read_config(path: Path) -> dict:
    """Returns the model's configuration from either kind of file, unchecked."""
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if is_zip:
        with archives.open_checked(path) as archive:
            return _parse(archives.read_entry(archive, "config.json", MAX_CONFIG))
    with h5py.File(path, "r") as file:
        return _parse(file.attrs["model_config"])


def _of_zip(path: Path) -> tuple[dict, set[int]]:
    with archives.open_checked(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        if extra := sorted(names - ENTRIES):
            raise BadInput(
                f"The .keras file holds '{extra[0][:60]}', which a classifier does not need: {ADVICE}"
            )
        if missing := sorted(ENTRIES - names):
            raise BadInput(f"The .keras file lacks '{missing[0]}': {ADVICE}")
        config = _parse(archives.read_entry(archive, "config.json", MAX_CONFIG))
        weights = archives.read_entry(archive, "model.weights.h5", 4 * MAX_VALUES)
    return config, _check_file(io.BytesIO(weights), len(weights))[0]


def _of_hdf5(path: Path) -> tuple[dict, set[int]]:
    dims, attributes = _check_file(path, path.stat().st_size)
    if "model_config" not in attributes:
        raise refused.refusal(
            "keras_weights" if "layer_names" in attributes or "keras_version" in attributes else "hdf5"
        )
    return _parse(attributes["model_config"]), dims


def _check_file(source: Any, size: int) -> tuple[set[int], dict]:
    """Walks every object of an HDF5 file; returns all sizes that stored weights have, and the root's
    attributes.
    """
    try:
        with h5py.File(source, "r") as file:
            dims, seen = {1}, set()
            total = _walk(file, seen, dims, size, 0)
            if total > MAX_VALUES:
                raise BadInput(
                    f"The Keras file holds {total:,} values, more than an edge device's classifier can have: "
                    "choose a smaller model."
                )
            return dims, {
                name: file.attrs[name] if name == "model_config" else None
                for name in ("model_config", "layer_names", "keras_version")
                if name in file.attrs
            }
    except BadInput:
        raise
    except Exception as error:  # the HDF5 library reports damage through many classes
        raise BadInput(f"The HDF5 file is damaged ({str(error)[:100]}): {ADVICE}") from None


def _walk(group: h5py.Group, seen: set, dims: set[int], size: int, depth: int) -> int:
    if depth > MAX_DEPTH or len(seen) > MAX_OBJECTS:
        raise BadInput(f"The HDF5 file is nested too deeply or holds too many objects: {ADVICE}")
    total = 0
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
            raise BadInput(
                f"The HDF5 file holds {kind} link ('{name[:60]}'), which could lead to any file: {ADVICE}"
            )
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise BadInput(f"The HDF5 file links '{name[:60]}' twice, perhaps in a circle: {ADVICE}")
        seen.add(address)
        if isinstance(item, h5py.Group):
            total += _walk(item, seen, dims, size, depth + 1)
        elif isinstance(item, h5py.Dataset):
            total += _check_dataset(name[:60], item, dims, size)
        else:
            raise BadInput(
                f"The HDF5 file holds a named type ('{name[:60]}'), which no Keras model has: {ADVICE}"
            )
    return total


def _check_dataset(name: str, item: h5py.Dataset, dims: set[int], size: int) -> int:
    if item.external or item.id.get_create_plist().get_external_count():
        raise BadInput(
            f"The values of '{name}' lie outside the HDF5 file, which could name any file of this machine:"
            f" {ADVICE}"
        )
    if item.is_virtual:
        raise BadInput(f"The values of '{name}' are gathered from other files: {ADVICE}")
    if item.dtype.kind not in "fiubS" or item.dtype.itemsize > 1_000_000:
        raise BadInput(f"The values of '{name}' in the HDF5 file are no numbers: {ADVICE}")
    if item.shape is None:
        return 0
    count = math.prod(item.shape)
    held, bytes_ = item.id.get_storage_size(), count * item.dtype.itemsize
    chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
    if bytes_ > (200 if item.compression else 1) * min(held, size) or chunk > max(MAX_CHUNK, bytes_):
        raise BadInput(
            f"'{name}' has the shape {list(item.shape)[:8]}, far more than the file stores: {ADVICE}"
        )
    if set(_filters(item)) - {1, 2, 3}:  # gzip, shuffle, checksum: what HDF5 itself brings
        raise BadInput(f"The values of '{name}' are compressed with a plug-in: {ADVICE}")
    dims.update(int(value) for value in item.shape)
    return max(count, bytes_ // 4)


def _filters(item: h5py.Dataset) -> list[int]:
    plan = item.id.get_create_plist()
    return [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]


def _parse(text: Any) -> dict:
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
        config = json.loads(text) if len(text) <= MAX_CONFIG else None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or "class_name" not in config:
        raise BadInput(f"The Keras configuration is no description of a model: {ADVICE}")
    return config


def _check_config(config: dict, dims: set[int]) -> None:
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


def _check_counts(key: str, value: Any) -> None:
    numbers = [value]
    while any(isinstance(item, list) for item in numbers):
        numbers = [part for item in numbers for part in (item if isinstance(item, list) else [item])][:1000]
    most = MAX_SIDE if key in SIDES else 100_000
    if (
        any(isinstance(n, int | float) and not -1 <= n <= most for n in numbers)
        or math.prod(max(int(n), 1) for n in numbers if isinstance(n, int)) > 50_000_000
    ):
        raise BadInput(
            f"The Keras configuration asks for {key} of {str(value)[:40]}, which no classifier needs:"
            f" {ADVICE}"
        )
