"""Keras models of versions 2 and 3, opened after keras/check.py has passed them. Runs behind the wall."""

import io
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

from engine.errors import BadInput, shortened
from engine.formats.keras import version2, version2_weights
from engine.formats.keras.adapt import activation_of, giving_classes, image_shapes, taking
from engine.formats.keras.check import check
from engine.formats.keras.config import ADVICE, read_config, version_of
from engine.formats.keras.saved_model import to_tflite
from engine.formats.limits import MAX_OUTPUT, MAX_VALUES
from engine.formats.opening import Opening
from engine.formats.tflite.as_keras import open_tflite
from engine.store import zips as archives
from engine.vocabulary import ModelFile

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Dense")


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
    """Loads a checked file without its optimizer and in safe mode; what Keras 2 saved is built anew, and
    where that can't be done Keras may try. Raises BadInput with the reason that tells most.
    """
    old = not version_of(path).startswith("3")
    ways = (_as_version2, _as_file) if old else (_as_file, _as_version2)
    failed: list[Exception] = []
    with warnings.catch_warnings(), _no_more_weights_than(path.stat().st_size):
        warnings.simplefilter("ignore")
        for way in ways:
            try:
                return way(path, format)
            except Exception as error:  # Keras reports what it can't build through any class of error
                failed.append(error)
    first = failed[0]  # of the reader that the file was written for
    if isinstance(first, BadInput):
        raise first
    reason = (str(first).strip().splitlines() or [type(first).__name__])[0]
    raise BadInput(f"Keras can't build the model ({shortened(reason, 160)}): {ADVICE}")


@contextmanager
def _no_more_weights_than(file_bytes: int) -> Iterator[None]:
    """Stops a model from making more weights than its file can hold, before any of them is made: a layer's
    size follows from what is before it, so the configuration alone doesn't tell. A compressed file may hold
    200 times its size.
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
    for operation in _all_operations(model):
        for tensor in (x for node in operation._inbound_nodes for x in node.output_tensors):
            numbers = math.prod(n or 1 for n in tensor.shape[1:])
            if numbers > MAX_OUTPUT:
                raise BadInput(
                    f"The layer '{operation.name[:60]}' of the Keras model gives {numbers:,} numbers for one"
                    f" image, which no device could hold: {ADVICE}"
                )


def _all_operations(model: keras.Model) -> list:
    function = getattr(model, "_functional", None) or model
    return [
        inner
        for operation in getattr(function, "operations", model.layers)
        for inner in (_all_operations(operation) if isinstance(operation, keras.Model) else [operation])
    ]


def _as_file(path: Path, format: str) -> keras.Model:
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # Keras goes by a name's ending; here only the content counts
        named = shutil.copy(path, Path(folder, "model.keras" if format == "keras_v3" else "model.h5"))
        return keras.models.load_model(named, compile=False, safe_mode=True)


def _as_version2(path: Path, format: str) -> keras.Model:
    model, root = version2.build(read_config(path))
    if format == "keras_v3":
        with archives.open_checked(path) as archive:
            stored = archives.read_entry(archive, "model.weights.h5", 4 * MAX_VALUES)
        with h5py.File(io.BytesIO(stored), "r") as file:
            version2_weights.set_from_store(file, root)
    else:
        with h5py.File(path, "r") as file:
            version2_weights.set_from_h5(file, root)
    return model


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
