"""Run an artifact in the runtime that it is deployed with: predict, time, profile memory. One file a
runtime.
"""

from pathlib import Path
from typing import Protocol

import numpy as np


class Loaded(Protocol):
    """An artifact that is ready to run, with its runtime's name, version and thread count."""

    runtime: str
    version: str
    threads: int

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs preprocessed float32 inputs [n, …] and returns float32 scores [n, classes]."""

    def run_once(self, one: np.ndarray) -> None:
        """Runs one preprocessed input [1, …]; what is timed."""


def open_artifact(path: Path, threads: int) -> Loaded:
    """Loads an artifact in its own runtime, which is imported only now."""
    if path.suffix == ".tflite":
        from engine.runtimes.litert import LiteRTModel

        return LiteRTModel(path, threads)
    from engine.runtimes.onnxruntime import ONNXModel

    return ONNXModel(path, threads)
