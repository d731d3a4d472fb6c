"""A file that build_qnn.py made for a Hexagon NPU, in ONNX Runtime with Qualcomm's QNN provider; as in
model.py. Not run on a board where this package was made.
"""

from __future__ import annotations

import os

import numpy as np

PROVIDER = "QNNExecutionProvider"


class QNN:
    """A compiled network for single images with one input and one output."""

    id = "qnn"
    suffixes = (".onnx",)
    requirements = ("onnxruntime>=1.24.2", "onnxruntime-qnn>=2")
    rounding = 0.02  # of a probability, in 8 bits
    precision = "int8"

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
    ):
        """`threads`, `int4_weights` and `exact` change nothing: the NPU computes as the file was built."""
        import onnxruntime
        import onnxruntime_qnn

        self.version: str = onnxruntime_qnn.__version__
        self.threads = threads
        onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
        found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
        if not found:
            raise ImportError("no Hexagon NPU answers: is this a Qualcomm board, with its own system?")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_provider_for_devices(found[:1], {"backend_path": onnxruntime_qnn.get_qnn_htp_path()})
        self.session = onnxruntime.InferenceSession(os.fspath(path), sess_options=options)
        self.input = self.session.get_inputs()[0].name

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, ...] one by one and returns float32 scores [n, classes]."""
        return np.stack([self._run(inputs[i : i + 1]) for i in range(len(inputs))])

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...], its way to the NPU and back included."""
        self._run(one)

    def _run(self, one: np.ndarray) -> np.ndarray:
        found = self.session.run(None, {self.input: np.ascontiguousarray(one, np.float32)})[0]
        return np.asarray(found, np.float32).reshape(-1)
