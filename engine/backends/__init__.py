"""Networks in their frameworks, behind one protocol (protocol.py), and the one place where one is opened.

Nothing here imports a framework; `open_backend` does, and only the one that is asked for.
"""

from pathlib import Path

from engine.backends.grid import Grid, dequantized, nearest_grid
from engine.backends.images import TRAINED_SHARE, images_at_once
from engine.backends.protocol import (
    Backend,
    Facts,
    LayerInfo,
    Network,
    QuantSpec,
    Trained,
    Training,
)
from engine.vocabulary import ModelFile

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
    "dequantized",
    "images_at_once",
    "nearest_grid",
    "open_backend",
]


def open_backend(model: ModelFile, cache: Path, threads: int) -> Backend:
    """Imports and opens the one backend of this model; `cache` is where it keeps exported graphs."""
    if model.framework == "keras":
        from engine.backends.keras.backend import KerasBackend

        return KerasBackend(model.preprocessing, cache, threads)
    if model.reach == "post_training":
        from engine.backends.onnx.backend import ONNXBackend

        return ONNXBackend(model.preprocessing, cache, threads)
    from engine.backends.torch.backend import PyTorchBackend

    return PyTorchBackend(model.preprocessing, cache, threads)
