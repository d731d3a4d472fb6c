"""A checked TFLite file opened as the Keras model that it holds. Imports Keras: only for use behind the
wall.
"""

from pathlib import Path

import keras

from engine.errors import BadInput
from engine.formats.tflite.check import check
from engine.formats.tflite.graph import read
from engine.formats.tflite.network import try_network
from engine.formats.tflite.open import openings
from engine.vocabulary import ModelFile


def open_model(path: Path, model: ModelFile) -> keras.Model:
    """Opens a checked model file: see `open_tflite`."""
    return open_tflite(path)


def open_tflite(path: Path) -> keras.Model:
    """Opens a float TFLite file: float32 [n, height, width, channels] in, [n, classes] out.

    Raises BadInput where it can't be followed.
    """
    check(path)
    opening = openings(path, "tflite", None, None)[0]
    shape = (opening.height, opening.width, opening.channels)
    network, why = try_network(read(path), opening.predict, shape)
    if network is None:
        raise BadInput(
            f"The TFLite file can't be trained or pruned here, because {why}: upload the Keras model."
        )
    return network
