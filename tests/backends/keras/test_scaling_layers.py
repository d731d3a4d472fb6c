"""Networks that scale their images themselves: trained, pruned, kept and exported."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.backends.keras.conftest import noise


def normalization():
    layer = layers.Normalization(axis=-1)
    layer.adapt(noise(20, 16, 3).astype("float32"))
    return layer


SCALING = {
    "normalization": normalization,
    "one_number": lambda: layers.Normalization(axis=None, mean=100.0, variance=2500.0),
    "rescaling": lambda: layers.Rescaling(1 / 127.5, offset=-1),
}


@pytest.fixture(params=list(SCALING))
def scaled(request, backend_for):
    """(backend, Keras model, network) that scales pixels by a layer of its own, and has no BatchNorm."""
    from engine.backends.keras.apart import graph_of

    keras.utils.set_random_seed(5)
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu")(SCALING[request.param]()(inputs))
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    return backend_for(16, 3), model, graph_of(model)


def test_a_new_network_of_the_graph_scales_as_the_model_does(scaled, images):
    backend, model, network = scaled
    wanted = np.asarray(model(images.astype(np.float32) / 255, training=False))
    assert np.allclose(backend.logits(network, images), wanted, atol=1e-4)
    assert np.allclose(backend.logits(backend.folded(network), images), wanted, atol=1e-3)


def test_what_is_trained_scales_its_images_too(scaled, images, tmp_path):
    from engine.backends.protocol import Training
    from engine.datasets import Part

    backend, _, network = scaled
    part = Part(images, np.arange(len(images)) % 4)
    steps = Training(steps=1, batch=4, learning_rate=0.0, seed=0)
    trained = backend.train(network, part, part, steps, lambda share: None).network
    wanted = backend.logits(network, images)
    assert np.allclose(backend.logits(trained, images), wanted, atol=1e-4)
    path = backend.export(trained, None, None, tmp_path / "trained")
    assert np.allclose(backend.predict(path, images), wanted, atol=1e-3)


@pytest.mark.parametrize("folded", [False, True])
def test_a_narrowed_network_comes_back_folded_or_not(scaled, images, tmp_path, monkeypatch, folded):
    backend, _, network = scaled
    monkeypatch.setattr(backend.framework, "load", lambda model: network)
    ratios = {layer.name: 0.5 for layer in backend.facts(network).layers}
    narrow = backend.remove_channels(backend.folded(network) if folded else network, ratios, "l2", None, 0)
    backend.save(narrow, tmp_path, "kept")
    back = backend.restore(None, tmp_path, "kept")
    assert np.allclose(backend.logits(back, images), backend.logits(narrow, images), atol=1e-5)
