"""Keras networks with operators and attention between their layers: each answers the same in every form."""

import keras
import numpy as np
import pytest
from keras import layers, ops


def numbers(x):
    x = x / 255.0
    x = (x - np.array([0.485, 0.456, 0.406], "float32")) * np.array([4.4, 4.5, 4.6], "float32")
    return layers.Conv2D(6, 3)(1.0 - x)


def divisor(x):
    return layers.Conv2D(6, 3)(2.0 / (x + 1.5))


def swish_by_hand(x):
    x = layers.BatchNormalization()(layers.Conv2D(6, 3)(x))
    return layers.Conv2D(6, 3)(x * ops.relu6(x + 3.0) * (1 / 6))


def swish_of_layers(x):
    x = layers.Conv2D(6, 3)(x)
    gate = layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
    return layers.Conv2D(6, 3)(layers.Multiply()([x, gate]))


def gate_by_channel(x):
    x = layers.Conv2D(6, 3, activation="relu")(x)
    gate = ops.relu6(layers.Conv2D(6, 1)(ops.mean(x, axis=(1, 2), keepdims=True)) + 3.0) * (1 / 6)
    return layers.Conv2D(6, 3)(x * gate)


def read_twice(x):
    """relu6(x + 3) is read by two: it must stay."""
    x = layers.Conv2D(6, 3)(x)
    clipped = ops.relu6(x + 3.0)
    return layers.Conv2D(6, 3)(x * clipped * (1 / 6) + clipped)


def attention(x):
    x = layers.Reshape((16, 12))(layers.Conv2D(12, 4, 4)(x))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 6)(y, y)])
    return layers.Reshape((4, 4, 12))(layers.Dense(12, activation="gelu")(x * 0.5))


NETWORKS = {
    made.__name__: made
    for made in (numbers, divisor, swish_by_hand, swish_of_layers, gate_by_channel, read_twice, attention)
}
ACTIVATIONS = {
    "swish_by_hand": ["hard_silu"],
    "swish_of_layers": ["hard_silu"],
    "gate_by_channel": ["relu", "hard_sigmoid"],
    "read_twice": [],
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def operated(request, backend_for, shaken):
    """(name, backend, Keras model, network) of one network."""
    from engine.backends.keras.apart import graph_of

    keras.utils.set_random_seed(6)
    inputs = keras.Input((16, 16, 3))
    scores = layers.Dense(5)(layers.GlobalAveragePooling2D()(NETWORKS[request.param](inputs)))
    model = shaken(keras.Model(inputs, scores))
    return request.param, backend_for(16, 3), model, graph_of(model)


def test_every_form_answers_like_the_model(operated, images, tmp_path):
    name, backend, model, network = operated
    wanted = np.asarray(model(images.astype(np.float32) / 255, training=False))
    assert np.allclose(backend.logits(network, images), wanted, atol=1e-4)
    assert np.allclose(backend.logits(backend.folded(network), images), wanted, atol=1e-3)
    path = backend.export(network, None, None, tmp_path / "float")
    assert np.allclose(backend.predict(path, images), wanted, atol=1e-3)
    if name in ACTIVATIONS:
        found = [n.config["activation"] for n in network.graph.nodes if n.kind == "Activation"]
        assert found == ACTIVATIONS[name]


def test_a_narrowed_one_still_runs(operated, images, tmp_path):
    _, backend, _, network = operated
    ratios = {layer.name: 0.4 for layer in backend.facts(network).layers}
    narrow = backend.remove_channels(network, ratios, "l2", None, 0)
    path = backend.export(narrow, None, None, tmp_path / "narrow")
    assert np.allclose(backend.predict(path, images), backend.logits(narrow, images), atol=1e-3)
