"""Keras models with one output or with a flat input: opened as classifiers of pictures, and said so."""

import keras
import numpy as np
import pytest
from keras import layers

from engine.errors import BadInput

RANDOM = np.random.default_rng(0)


def saved(model, tmp_path):
    keras.utils.set_random_seed(1)
    path = tmp_path / "model.keras"
    model.save(path)
    return path


def opened(model, tmp_path, size=None):
    from engine.formats.keras.open import openings

    return openings(saved(model, tmp_path), "keras_v3", None, size)


def body(x):
    return layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(x))


def one_output(end):
    inputs = keras.Input((12, 12, 3))
    return keras.Model(inputs, end(body(inputs)))


ENDS = {
    "sigmoid": lambda x: layers.Dense(1, activation="sigmoid")(x),
    "no bias": lambda x: layers.Dense(1, activation="sigmoid", use_bias=False)(x),
    "activation": lambda x: layers.Activation("sigmoid")(layers.Dense(1)(x)),
    "operator": lambda x: keras.ops.sigmoid(layers.Dense(1)(x)),
    "nested": lambda x: keras.Sequential([keras.Input((6,)), layers.Dense(1, activation="sigmoid")])(x),
    "pooled": lambda x: layers.Activation("sigmoid")(keras.ops.mean(x, axis=1, keepdims=True)),
    "hard": lambda x: layers.Dense(1, activation="hard_sigmoid")(x),
}


@pytest.mark.parametrize("end", list(ENDS))
def test_one_sigmoid_is_two_classes(end, tmp_path):
    model = one_output(ENDS[end])
    images = RANDOM.random((5, 12, 12, 3), np.float32)
    (opening,) = opened(model, tmp_path)
    p = np.asarray(model(images))
    assert opening.classes == 2 and opening.facts["reach"] == "all"
    assert np.allclose(opening.predict(images), np.concatenate([1 - p, p], 1), atol=1e-5)
    assert "1 - p and p" in opening.facts["evidence"][0]


def test_one_logit_is_two_classes_with_a_warning(tmp_path):
    model = one_output(layers.Dense(1))
    images = RANDOM.random((5, 12, 12, 3), np.float32)
    (opening,) = opened(model, tmp_path)
    wanted = 1 / (1 + np.exp(-np.asarray(model(images))))
    assert np.allclose(opening.predict(images)[:, 1:], wanted, atol=1e-5)
    assert "logit" in opening.facts["warnings"][0]


def test_one_softmax_tells_nothing_apart(tmp_path):
    (opening,) = opened(one_output(layers.Dense(1, activation="softmax")), tmp_path)
    assert opening.facts["reach"] == "inspect" and "softmax" in opening.facts["warnings"][0]


@pytest.mark.parametrize(
    ("given", "picture", "size"),
    [
        ((784,), (28, 28, 1), None),
        ((28, 28), (28, 28, 1), None),
        ((3072,), (32, 32, 3), None),
        ((64,), (8, 8, 1), None),
        ((1536,), (32, 48, 1), 32),
    ],
)
def test_a_flat_input_is_a_picture_row_after_row(given, picture, size, tmp_path):
    dense = layers.Dense(4, activation="softmax")
    model = keras.Sequential([keras.Input(given), layers.Rescaling(1 / 255), layers.Flatten(), dense])
    images = RANDOM.random((3, *picture), np.float32) * 255
    opening = opened(model, tmp_path, size)[0]
    assert (opening.height, opening.width, opening.channels) == picture
    assert np.allclose(opening.predict(images), model(images.reshape(3, *given)), atol=1e-5)
    assert "row after row" in opening.facts["evidence"][0]


@pytest.mark.parametrize("given", [(4,), (13,), (1280,), (5, 3, 2, 3)])
def test_what_is_no_picture_is_refused(given, tmp_path):
    model = keras.Sequential([keras.Input(given), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(BadInput, match="takes"):
        opened(model, tmp_path)


@pytest.mark.parametrize("given", [(784,), (28, 28), (None, None, 1)])
def test_the_opened_network_runs_and_exports(given, tmp_path, backend_of_grey):
    from engine.backends.keras.apart import graph_of
    from engine.formats.keras.adapt import giving_classes, taking
    from engine.formats.keras.open import load

    flat = len(given) < 3
    before = [layers.Rescaling(1 / 255), layers.Flatten() if flat else layers.Conv2D(4, 3)]
    after = [] if flat else [layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input(given), *before, *after, layers.Dense(1, activation="sigmoid")])
    network, _ = taking(load(saved(model, tmp_path), "keras_v3"), (28, 28, 1))
    graph = graph_of(giving_classes(network)[0])
    images = RANDOM.integers(0, 256, (4, 28, 28, 1), np.uint8)
    p = np.asarray(model(images.reshape(4, *given).astype("float32") if flat else images.astype("float32")))
    path = backend_of_grey.export(graph, None, None, tmp_path / "flat")
    assert np.allclose(backend_of_grey.predict(path, images)[:, 1:], p, atol=1e-4)


@pytest.fixture
def backend_of_grey(tmp_path):
    from engine.backends import backend_for
    from engine.vocabulary import Preprocessing

    spec = Preprocessing(height=28, width=28, color="grey", layout="NHWC", scale=1.0, mean=[0.0], std=[1.0])
    return backend_for("keras", spec, tmp_path, 1)
