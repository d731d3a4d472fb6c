"""TFLite files as tutorials convert them: with one sigmoid output, and with flat pictures."""

import keras
import numpy as np
import pytest
from keras import layers

from engine import formats
from engine.formats.keras.saved_model import OPERATORS, TRAINING
from engine.formats.tflite.as_keras import open_tflite


@pytest.mark.parametrize("end", ["sigmoid", "linear"])
def test_one_output_is_two_classes(end, tmp_path):
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation=end)(x))
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    images = np.random.default_rng(0).random((3, 12, 12, 3), np.float32)
    p = np.asarray(model(images))
    p = p if end == "sigmoid" else 1 / (1 + np.exp(-p))
    formats.check(path, "tflite")
    (opening,) = formats.openings(path, "tflite", None, None)
    wanted = np.concatenate([1 - p, p], 1)
    assert opening.classes == 2 and opening.facts["reach"] == "all"
    assert np.allclose(opening.predict(images), wanted, atol=1e-5)
    assert np.allclose(open_tflite(path)(images), wanted, atol=1e-5)
    assert opening.facts["evidence"] or opening.facts["warnings"]


@pytest.mark.parametrize(
    ("shape", "picture"), [((196,), (14, 14, 1)), ((192,), (8, 8, 3)), ((12, 12), (12, 12, 1))]
)
def test_flat_pictures_get_a_reshape_in_front(shape, picture, tmp_path):
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(4)])
    path = tmp_path / "model.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    images = np.random.default_rng(0).random((3, *picture), np.float32)
    formats.check(path, "tflite")
    (opening,) = formats.openings(path, "tflite", None, None)
    wanted = np.asarray(model(images.reshape(3, *shape)))
    assert (opening.height, opening.width, opening.channels) == picture and opening.facts["reach"] == "all"
    assert "a reshape of" in opening.facts["evidence"][0]
    assert np.allclose(opening.predict(images), wanted, atol=1e-5)
    assert np.allclose(open_tflite(path)(images), wanted, atol=1e-5)


def test_what_only_training_calls_reads_no_files_and_runs_no_code():
    for name in OPERATORS | TRAINING:
        assert not any(
            word in name
            for word in (
                "ReadFile",
                "WriteFile",
                "MatchingFiles",
                "PyFunc",
                "Custom",
                "Dataset",
                "While",
                "Print",
                "Host",
            )
        )
