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
    framework, usual = chosen(model)
    return backend_for(framework, model.preprocessing, cache, threads, format or usual)


def chosen(model: ModelFile) -> tuple[str, str]:
    """Returns the ids of the framework that opens this model and of its usual format."""
    entry = FRAMEWORKS[model.framework]
    framework = entry.untrained if model.reach == "post_training" and entry.untrained else entry.id
    return framework, FRAMEWORKS[framework].formats[0]


def modules_of(framework: str, format: str) -> tuple[str, ...]:
    """Returns the modules that `backend_for` imports for these ids."""
    entry = FRAMEWORKS[framework]
    return tuple(place.split(":")[0] for place in (entry.networks, FORMATS[format], entry.exports[format]))


def backend_for(
    framework: str, preprocessing: Preprocessing, cache: Path, threads: int = 1, format: str | None = None
) -> Backend:
    """Returns a framework and a format, by their ids, put together for images of this kind."""
    entry = FRAMEWORKS[framework]
    format = format or entry.formats[0]
    return Backend(
        _named(entry.networks)(preprocessing, cache, threads),
        _named(FORMATS[format])(),
        _named(entry.exports[format]),
        cache,
        threads,
    )


def _named(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)
