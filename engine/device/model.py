"""Model files in the runtimes that run them, one class a runtime: the engine measures with the very class
that a package ships, so that what is measured is what runs on the device.

A further runtime is one class here and one name in RUNTIMES. It has

    id: what devices and estimates call it
    suffixes: the endings of the files that it opens
    requirements: what pip installs for it on the device, beside COMMON_REQUIREMENTS
    version, threads: of the runtime that was imported, and how many threads it was given
    predict(inputs): runs preprocessed float32 inputs [n, ...] and returns float32 scores [n, classes]
    run_once(one): runs one preprocessed input [1, ...]; what is timed

The runtime itself is imported only when a file is opened.
"""

from __future__ import annotations

import os
from typing import Any, Sequence

import numpy as np

COMMON_REQUIREMENTS = ("numpy>=1.21", "pillow>=9")


class OnnxRuntime:
    """An ONNX file in ONNX Runtime's CPU provider."""

    id = "onnxruntime"
    suffixes = (".onnx",)
    # 1.21.0 ends with an illegal instruction on ARM cores without dot products (onnxruntime issue 23957)
    requirements = ("onnxruntime>=1.19,!=1.21.0",)
    BATCH, LEAST_BATCH = 64, 4
    BATCH_VALUES = 64 * 64 * 64 * 3  # of larger images fewer go through at once

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        int4_weights: bool = False,
        exact: bool = False,
        profile: str = "",
    ):
        """`int4_weights` says that some weights are stored in INT4. `exact` turns graph optimisation off, so
        that a full-range INT8 file is computed without the 16-bit saturation of processors that lack
        dot-product instructions. `profile`: how the file begins that each operator's times go into.
        """
        import onnxruntime

        self.version: str = onnxruntime.__version__
        self.threads = threads
        options = onnxruntime.SessionOptions()
        for name, value in self.options(threads).items():
            setattr(options, name, value)
        for name, entry in self.entries(int4_weights and not exact).items():
            options.add_session_config_entry(name, entry)
        if exact:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self.session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
        first = self.session.get_inputs()[0]
        self.input_name = first.name
        self.input_type = np.float16 if first.type == "tensor(float16)" else np.float32
        self.fixed_batch = first.shape[0] if isinstance(first.shape[0], int) else None
        self.outputs = [self.session.get_outputs()[0].name]

    @staticmethod
    def options(threads: int) -> dict[str, int]:
        """Returns the session's options by name."""
        return {"intra_op_num_threads": threads, "inter_op_num_threads": 1, "log_severity_level": 3}

    @staticmethod
    def entries(int4_weights: bool) -> dict[str, str]:
        """Returns the session's further configuration by name."""
        # a spinning idle thread would steal the core that the next model needs
        entries = {"session.intra_op.allow_spinning": "0"}
        if int4_weights:
            # There are no INT4 kernels for convolutions: the weights are widened once, at load, else at every
            # image. It computes in float at float speed, and only the file is smaller.
            entries["session.disable_quant_qdq"] = "1"
        return entries

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, ...] in batches and returns float32 scores [n, classes]."""
        size = self.fixed_batch or max(self.LEAST_BATCH, min(self.BATCH, self.BATCH_VALUES // inputs[0].size))
        scores = []
        for start in range(0, len(inputs), size):
            batch = np.ascontiguousarray(inputs[start : start + size], dtype=self.input_type)
            missing = (size - len(batch)) if self.fixed_batch else 0
            if missing:
                batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
            result = self.session.run(self.outputs, {self.input_name: batch})[0]
            scores.append(result[: size - missing] if missing else result)
        return np.concatenate(scores).reshape(len(inputs), -1).astype(np.float32)

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...] (repeated where the file has a fixed larger batch)."""
        if self.fixed_batch and self.fixed_batch != len(one):
            one = np.repeat(one, self.fixed_batch, axis=0)
        self.session.run(self.outputs, {self.input_name: one.astype(self.input_type, copy=False)})


class LiteRT:
    """A TFLite file in LiteRT with its XNNPACK kernels; 8-bit inputs and outputs are scaled as the file
    says.
    """

    id = "litert"
    suffixes = (".tflite",)
    # tried on emulated ARM cores: 1.1 crashes, up to 1.3 half floats give NaN, up to 1.4 INT4 answers shift
    requirements = ("ai-edge-litert>=2.0.2",)
    BATCH = 32

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
    ):
        """`int4_weights` and `exact` change nothing here: LiteRT widens at load, and its sums are 32 bits."""
        try:
            import ai_edge_litert as package
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:  # its name on older devices
            import tflite_runtime as package
            from tflite_runtime.interpreter import Interpreter

        self.version: str = getattr(package, "__version__", "")
        self.path, self.threads = os.fspath(path), threads
        self.interpreter = Interpreter
        self.one = self._opened(1)
        self.input = self.one.get_input_details()[0]
        self.output = self.one.get_output_details()[0]
        self.many: Any = None  # made when first wanted; False where the graph is made for single images

    def _opened(self, batch: int) -> Any:
        interpreter = self.interpreter(model_path=self.path, num_threads=self.threads)
        if batch > 1:
            first = interpreter.get_input_details()[0]
            interpreter.resize_tensor_input(
                first["index"], [batch] + [int(size) for size in first["shape"][1:]]
            )
        interpreter.allocate_tensors()
        return interpreter

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, ...] and returns float32 scores [n, classes]."""
        many = self._batched() if len(inputs) >= self.BATCH else False
        whole = len(inputs) // self.BATCH * self.BATCH if many else 0
        scores = [self._run(many, inputs[i : i + self.BATCH]) for i in range(0, whole, self.BATCH)]
        scores += [self._run(self.one, inputs[i : i + 1]) for i in range(whole, len(inputs))]
        return np.concatenate(scores).reshape(len(inputs), -1)

    def _batched(self) -> Any:
        """Returns an interpreter for several images at a time, or False where the graph takes none."""
        if self.many is None:
            try:
                opened = self._opened(self.BATCH)
                self.many = opened if opened.get_output_details()[0]["shape"][0] == self.BATCH else False
            except (RuntimeError, ValueError):
                self.many = False
        return self.many

    def _run(self, interpreter: Any, x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(self.input["index"], self._stored(x))
        interpreter.invoke()
        y = interpreter.get_tensor(self.output["index"])
        scale, zero = self.output["quantization"]
        scores = (y.astype(np.float32) - zero) * scale if scale else y.astype(np.float32)
        return np.asarray(scores, np.float32).reshape(len(x), -1)

    def _stored(self, x: np.ndarray) -> np.ndarray:
        dtype = self.input["dtype"]
        if dtype == np.float32:
            return np.ascontiguousarray(x, np.float32)
        scale, zero = self.input["quantization"]
        limits = np.iinfo(dtype)
        codes = np.clip(np.rint(x / (scale or 1.0)) + zero, limits.min, limits.max)
        return np.asarray(codes, dtype)

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...], its rounding to 8 bits included where the file takes that."""
        self._run(self.one, one)


RUNTIMES: tuple[Any, ...] = (OnnxRuntime, LiteRT)


def runtime_for(path: str | os.PathLike[str]) -> Any:
    """Returns the class of the runtime that opens a file, the first one by its ending; raises ValueError."""
    ending = os.path.splitext(os.fspath(path))[1]
    for runtime in RUNTIMES:
        if ending in runtime.suffixes:
            return runtime
    known: Sequence[str] = [suffix for runtime in RUNTIMES for suffix in runtime.suffixes]
    raise ValueError("no runtime here opens %s files, only %s" % (ending or "such", ", ".join(known)))


def open_model(
    path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
) -> Any:
    """Opens a model file in its runtime, which is imported only now; see the class for the settings."""
    return runtime_for(path)(path, threads, int4_weights, exact)
