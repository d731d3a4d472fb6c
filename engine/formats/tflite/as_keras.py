"""A checked TFLite file opened as the Keras model that it holds. Imports Keras: only for use behind the
wall.
"""

from pathlib import Path

import keras

from engine.errors import BadInput
from engine.formats.keras.adapt import giving_classes
from engine.formats.tflite.check import check
from engine.formats.tflite.graph import read
from engine.formats.tflite.network import try_network
from engine.formats.tflite.open import scores_of
from engine.vocabulary import ModelFile


def open_model(path: Path, model: ModelFile) -> keras.Model:
    """Opens a checked model file: see `open_tflite`."""
    return open_tflite(path)


def open_tflite(path: Path) -> keras.Model:
    """Opens a float TFLite file: float32 [n, height, width, channels] in, [n, classes] out.

    Raises BadInput where it can't be followed.
    """
    check(path)
    graph = read(path)
    predict, shape = scores_of(path, graph)
    network, why = try_network(graph, predict, shape)
    if network is None:
        raise BadInput(
            f"The TFLite file can't be trained or pruned here, because {why}: upload the Keras model."
        )
    return giving_classes(network)[0]
