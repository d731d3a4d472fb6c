"""What the tests of the Keras backend share: the shipped digits network and small handmade ones."""

from pathlib import Path

import numpy as np
import pytest

from engine.vocabulary import Preprocessing


@pytest.fixture(scope="session")
def backend_for(tmp_path_factory):
    """Returns a function that opens a backend for images of a size and number of channels."""
    from engine.backends import backend_for

    def opened(size: int, channels: int):
        color = "grey" if channels == 1 else "rgb"
        return backend_for(
            "keras",
            Preprocessing(
                height=size,
                width=size,
                color=color,
                layout="NHWC",
                mean=[0.0] * channels,
                std=[1.0] * channels,
            ),
            Path(tmp_path_factory.mktemp("graphs")),
            2,
        )

    return opened


@pytest.fixture(scope="session")
def small(backend_for):
    """(backend, network, images): a little trained-like network with BatchNorm, and images of noise."""
    import keras
    from keras import layers

    from engine.backends.keras.apart import graph_of

    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((16, 16, 3))
    for width in (16, 32):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(layers.ReLU()(x))
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(10)(layers.Dropout(0.2)(x)))
    shake(model)
    backend = backend_for(16, 3)
    return backend, graph_of(model), noise(100, 16, 3)


@pytest.fixture(scope="session")
def shaken():
    """Returns the function that gives a model's BatchNorm statistics that are not neutral, and returns the
    model.
    """
    return lambda model: shake(model) or model


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Images of noise for networks of 16x16x3."""
    return noise(40, 16, 3)


def noise(count: int, size: int, channels: int) -> np.ndarray:
    """Returns seeded uint8 images."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def shake(model) -> None:
    """Gives BatchNorm statistics that are not neutral, so that folding them means something."""
    random = np.random.default_rng(2)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            n = layer.moving_mean.shape[0]
            layer.set_weights(
                [
                    random.uniform(0.5, 1.5, n),
                    random.normal(0, 0.2, n),
                    random.normal(0, 0.2, n),
                    random.uniform(0.5, 1.5, n),
                ]
            )
