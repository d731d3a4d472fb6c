"""Keras models of versions 2 and 3, opened after keras/check.py has passed them. Runs behind the wall."""

import math
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np

from engine.errors import BadInput
from engine.formats.keras.adapt import activation_of, giving_classes, image_shapes, taking
from engine.formats.keras.check import check
from engine.formats.keras.config import ADVICE, read_config
from engine.formats.keras.saved_model import to_tflite
from engine.formats.limits import MAX_OUTPUT, MAX_VALUES
from engine.formats.opening import Opening
from engine.formats.tflite.as_keras import open_tflite
from engine.vocabulary import ModelFile

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense")
OUTDATED = {
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint", "groups"),
    "BatchNormalization": (
        "renorm",
        "renorm_clipping",
        "renorm_momentum",
        "virtual_batch_size",
        "fused",
        "adjustment",
    ),
}


def open_keras(path: Path, model: ModelFile) -> keras.Model:
    """Opens a checked model file: float32 [n, height, width, channels] in, [n, classes] out.

    Raises BadInput when Keras can't build it.
    """
    check(path)
    network, _ = taking(load(path, model.format), tuple(model.input_shape))
    return giving_classes(network)[0]


def open_saved_model(path: Path, model: ModelFile) -> keras.Model:
    """Opens a checked SavedModel by way of TFLite. Raises BadInput where it can't be followed."""
    with tempfile.TemporaryDirectory() as folder:
        return open_tflite(to_tflite(path, Path(folder)))


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the ways to open a Keras file, several where a flat input may be several kinds of pictures.

    Raises BadInput when it takes no image or gives no row of scores.
    """
    model = load(path, format)
    _check_sizes(model)
    shapes, channels_first = image_shapes(model, size)
    return [_opening(model, shape, channels_first) for shape in shapes]


def _opening(model: keras.Model, shape: tuple[int, int, int], channels_first: bool) -> Opening:
    classes = _classes_of(model)
    facts = {
        "outputs": _outputs_of(model),
        "evidence": [],
        "warnings": [],
        "reach": "all",
        "layers": sum(type(layer).__name__ in WEIGHTED for layer in _all_layers(model)),
        "parameters": int(sum(np.prod(w.shape) for w in model.trainable_weights)),
    }
    if channels_first:
        facts |= {
            "reach": "inspect",
            "warnings": [
                "The network wants channels first, which edge runtimes for Keras models don't "
                "take: it can be inspected and estimated; build it with channels last to compress it."
            ],
        }
    else:
        model, said = taking(model, shape)
        model, more, warned = giving_classes(model)
        facts |= {"evidence": said + more, "warnings": warned, "outputs": _outputs_of(model)}
        classes = _classes_of(model)
    if classes < 2:
        facts |= {
            "reach": "inspect",
            "warnings": [
                f"The network has one output behind '{activation_of(model)[:40]}', which doesn't tell two"
                " classes apart: it can be inspected and estimated; end it with one output for each class, or"
                " with one sigmoid, to compress it."
            ],
        }

    def predict(x: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older files name their input; Keras remarks on it at every call
            return np.asarray(model.predict_on_batch(x), np.float32).reshape(len(x), -1)

    inside = any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in _all_layers(model)[:4])
    return Opening(None, *shape, classes, predict, layout="NHWC", scaled_inside=inside, facts=facts)


def load(path: Path, format: str) -> keras.Model:
    """Loads a checked file without its optimizer and in safe mode; older files get a second try without the
    options that
    newer layers no longer have. Raises BadInput with Keras' own reason."""
    with warnings.catch_warnings(), _no_more_weights_than(path.stat().st_size):
        warnings.simplefilter("ignore")
        try:
            return _as_file(path, format)
        except BadInput:
            raise
        except Exception as first:  # Keras reports what it can't build through any class of error
            try:
                if format == "keras_h5":
                    return _from_cleaned_config(path)
            except BadInput:
                raise
            except Exception:
                pass
            reason = (str(first).strip().splitlines() or [type(first).__name__])[0]
            raise BadInput(f"Keras can't build the model ({reason[:160]}): {ADVICE}") from None


@contextmanager
def _no_more_weights_than(file_bytes: int) -> Iterator[None]:
    """Stops a model from making more weights than its file can hold, before any of them is made: a layer's
    size follows from
    what is before it, so the configuration alone doesn't tell. A compressed file may hold 200 times its size.
    """
    made, real, most = [0], keras.layers.Layer.add_weight, min(MAX_VALUES, 200 * file_bytes // 4)

    def counted(self, shape=None, *arguments, **options):
        made[0] += (
            math.prod(shape)
            if isinstance(shape, list | tuple) and all(isinstance(n, int) for n in shape)
            else 1
        )
        if made[0] > most:
            raise BadInput(
                f"The layers of the Keras model want {made[0]:,} weights, more than the file holds or a"
                f" device's classifier has: {ADVICE}"
            )
        return real(self, shape, *arguments, **options)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = real


def _check_sizes(model: keras.Model) -> None:
    """Raises BadInput where a layer gives absurdly much for one image; with an open image size nothing is
    known yet.
    """
    for layer in _all_layers(model):
        outputs = getattr(layer, "output", None) if getattr(layer, "_inbound_nodes", None) else None
        for tensor in outputs if isinstance(outputs, list) else [outputs]:
            numbers = math.prod(n or 1 for n in tensor.shape[1:]) if tensor is not None else 0
            if numbers > MAX_OUTPUT:
                raise BadInput(
                    f"The layer '{layer.name[:60]}' of the Keras model gives {numbers:,} numbers for one"
                    f" image, which no device could hold: {ADVICE}"
                )


def _as_file(path: Path, format: str) -> keras.Model:
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # Keras goes by a name's ending; here only the content counts
        named = shutil.copy(path, Path(folder, "model.keras" if format == "keras_v3" else "model.h5"))
        return keras.models.load_model(named, compile=False, safe_mode=True)


def _from_cleaned_config(path: Path) -> keras.Model:
    config = read_config(path)
    _clean(config)
    from keras.src.legacy.saving import legacy_h5_format, saving_options, saving_utils

    with saving_options.keras_option_scope(use_legacy_config=True):
        model = saving_utils.model_from_config(config)
    with h5py.File(path, "r") as file:
        legacy_h5_format.load_weights_from_hdf5_group(file["model_weights"], model)
    return model


def _clean(value) -> None:
    if isinstance(value, dict):
        config = value.get("config")
        for key in OUTDATED.get(value.get("class_name"), ()) if isinstance(config, dict) else ():
            config.pop(key, None)
        if value.get("class_name") == "Sequential":
            _show_input(value)
        if value.get("class_name") == "BatchNormalization" and isinstance(config.get("axis"), list):
            config["axis"] = config["axis"][0]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        _clean(item)


def _show_input(sequential: dict) -> None:
    """Gives a Sequential of the first Keras versions the input layer that its first layer then stood for."""
    if isinstance(sequential["config"], list):
        sequential["config"] = {"name": "sequential", "layers": sequential["config"]}
    layers = sequential["config"]["layers"]
    shape = (
        layers[0]["config"].pop("batch_input_shape", None)
        if layers and layers[0]["class_name"] != "InputLayer"
        else None
    )
    if shape:
        layers.insert(
            0,
            {
                "class_name": "InputLayer",
                "config": {"name": "image", "batch_input_shape": shape, "dtype": "float32"},
            },
        )


def _all_layers(model: keras.Model) -> list:
    return [
        inner
        for layer in model.layers
        for inner in (_all_layers(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def _classes_of(model: keras.Model) -> int:
    shape = model.outputs[0].shape
    if len(model.outputs) != 1 or len(shape) != 2:
        kind = (
            "a segmentation network or an image-to-image network"
            if len(shape) == 4
            else "a detector or a network for series"
        )
        raise BadInput(
            f"The Keras model gives {str([tuple(o.shape[1:]) for o in model.outputs])[:60]} and no row of"
            f" scores, as {kind}: it is no image classifier and out of scope."
        )
    return int(shape[1])


def _outputs_of(model: keras.Model) -> str:
    return "probabilities" if activation_of(model) in ("softmax", "sigmoid") else "logits"
