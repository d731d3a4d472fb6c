"""What the estimator's tests share."""

import os
from pathlib import Path

import pytest

from tests.estimator.networks import convolution, profile_of


@pytest.fixture
def separable():
    """Makes a network like MobileNet, as large as those that were measured."""

    def make(precision="float32", file_format="tflite", blocks=12):
        layers = []
        for i in range(blocks):
            size, channels = (56, 64) if i < 3 else (28, 128) if i < 6 else (14, 256)
            layers += [
                convolution(f"d{i}", channels, size, 3, "depthwise", precision),
                convolution(f"p{i}", channels, size, 1, "conv", precision),
            ]
        return profile_of(layers, precision, file_format)

    return make


@pytest.fixture(scope="session")
def all_rows():
    """The folder of all measured rows, where there is one."""
    folder = os.environ.get("EDGEWISE_MEASUREMENTS")
    if not folder:
        pytest.skip("EDGEWISE_MEASUREMENTS names no folder of rows")
    return Path(folder)
