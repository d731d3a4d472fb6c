"""Artifacts in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

BATCH, LEAST_BATCH = 64, 4
BATCH_VALUES = 64 * 64 * 64 * 3  # of larger images fewer go through at once


class ONNXModel:
    """An ONNX file in ONNX Runtime's CPU provider.

    A file with weights in INT4 is loaded with its DequantizeLinear nodes folded (`disable_quant_qdq`): the
    runtime
    has no INT4 kernels for convolutions, so it computes in float at float speed, and only the file is
    smaller.
    """

    runtime = "onnxruntime"
    version = ort.__version__

    def __init__(self, path: Path, threads: int = 1, exact: bool = False):
        """`exact` turns graph optimisation off, so that a full-range INT8 file is computed without the 16-bit
        saturation of processors that lack dot-product instructions."""
        self.threads = threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # a spinning idle thread would steal the core that the next timed artifact needs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if exact:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        elif holds_int4(path):
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        first = self.session.get_inputs()[0]
        self.input_name = first.name
        self.input_type = np.float16 if first.type == "tensor(float16)" else np.float32
        self.fixed_batch = first.shape[0] if isinstance(first.shape[0], int) else None
        self.outputs = [self.session.get_outputs()[0].name]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, …] in batches and returns float32 scores [n, classes]."""
        size = self.fixed_batch or max(LEAST_BATCH, min(BATCH, BATCH_VALUES // inputs[0].size))
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
        """Runs one input [1, …] (repeated where the file has a fixed larger batch)."""
        if self.fixed_batch and self.fixed_batch != len(one):
            one = np.repeat(one, self.fixed_batch, axis=0)
        self.session.run(self.outputs, {self.input_name: one.astype(self.input_type, copy=False)})


def holds_int4(path: Path) -> bool:
    """Tells whether an ONNX file stores any weights in INT4."""
    import onnx

    types = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
    return any(t.data_type in types for t in onnx.load(path).graph.initializer)
