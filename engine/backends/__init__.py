"""Networks in their frameworks and files in their formats, and the one place where the two meet.

Nothing here imports a framework; opening a backend does, and only the one that is asked for.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from engine.backends.backend import Backend
from engine.backends.grid import Grid, dequantized, nearest_grid
from engine.backends.images import TRAINED_SHARE, images_at_once
from engine.backends.protocol import Facts, LayerInfo, Network, QuantSpec, Trained, Training
from engine.frameworks import FRAMEWORKS
from engine.runtimes import entry_of
from engine.vocabulary import ModelFile, Preprocessing

__all__ = [
    "TRAINED_SHARE",
    "Backend",
    "Facts",
    "Grid",
    "LayerInfo",
    "Network",
    "QuantSpec",
    "Trained",
    "Training",
    "backend_for",
    "dequantized",
    "images_at_once",
    "nearest_grid",
    "open_backend",
]

# a deployable format is one folder here, and one line
FORMATS = {
    "onnx": "engine.backends.onnx.format:ONNX",
    "tflite": "engine.backends.tflite.format:TFLite",
}


def open_backend(model: ModelFile, cache: Path, threads: int, format: str | None = None) -> Backend:
    """Imports and opens what works on this model. format: what its files are, the framework's usual one where
    it is None. `cache` is where exported graphs are kept.
    """
    return backend_for(entry_of(model).id, model.preprocessing, cache, threads, format)


def modules_of(framework: str, format: str) -> tuple[str, ...]:
    """Returns the modules that `backend_for` imports for these ids; a converter is imported by the one child
    that converts.
    """
    entry = FRAMEWORKS[framework]
    places = (entry.networks, FORMATS[format], entry.exports[format].writer)
    return tuple(place.split(":")[0] for place in places)


def backend_for(
    framework: str, preprocessing: Preprocessing, cache: Path, threads: int = 1, format: str | None = None
) -> Backend:
    """Returns a framework and a format, by their ids, put together for images of this kind."""
    entry = FRAMEWORKS[framework]
    format = format or entry.formats[0]
    return Backend(
        _named(entry.networks)(preprocessing, cache, threads),
        _named(FORMATS[format])(),
        _named(entry.exports[format].writer),
        cache,
        threads,
    )


def _named(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)
