"""Artifacts in LiteRT."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

BATCH = 32


class LiteRTModel:
    """A TFLite file in LiteRT with its XNNPACK kernels; 8-bit inputs and outputs are scaled as the file
    says.
    """

    runtime = "litert"
    version = version("ai-edge-litert")

    def __init__(self, path: Path, threads: int = 1):
        self.path, self.threads = path, threads
        self.one = self._opened(1)
        self.input = self.one.get_input_details()[0]
        self.output = self.one.get_output_details()[0]

    def _opened(self, batch: int) -> Interpreter:
        interpreter = Interpreter(model_path=str(self.path), num_threads=self.threads)
        if batch > 1:
            shape = interpreter.get_input_details()[0]["shape"]
            interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (batch, *shape[1:]))
        interpreter.allocate_tensors()
        return interpreter

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, …] and returns float32 scores [n, classes]."""
        many = self._many() if len(inputs) >= BATCH else None
        whole = len(inputs) // BATCH * BATCH if many is not None else 0
        scores = [self._run(many, inputs[i : i + BATCH]) for i in range(0, whole, BATCH)]
        scores += [self._run(self.one, inputs[i : i + 1]) for i in range(whole, len(inputs))]
        return np.concatenate(scores).reshape(len(inputs), -1)

    def _many(self) -> Interpreter | None:
        """Returns an interpreter for several images at a time, or None where the graph is made for single
        ones.
        """
        if not hasattr(self, "_batched"):
            try:
                self._batched = self._opened(BATCH)
                if self._batched.get_output_details()[0]["shape"][0] != BATCH:
                    self._batched = None
            except (RuntimeError, ValueError):
                self._batched = None
        return self._batched

    def _run(self, interpreter: Interpreter, x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(self.input["index"], self._stored(x))
        interpreter.invoke()
        y = interpreter.get_tensor(self.output["index"])
        scale, zero = self.output["quantization"]
        return ((y.astype(np.float32) - zero) * scale if scale else y.astype(np.float32)).reshape(len(x), -1)

    def _stored(self, x: np.ndarray) -> np.ndarray:
        dtype = self.input["dtype"]
        if dtype == np.float32:
            return np.ascontiguousarray(x, np.float32)
        scale, zero = self.input["quantization"]
        limits = np.iinfo(dtype)
        return np.clip(np.rint(x / (scale or 1.0)) + zero, limits.min, limits.max).astype(dtype)

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, …], its rounding to 8 bits included where the file takes that."""
        self._run(self.one, one)
