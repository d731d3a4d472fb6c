"""Makes model_qnn.onnx for the Hexagon NPU of a QCS6490, on a PC (x86-64 Linux, Python 3.11 or later) with
Qualcomm's provider for ONNX Runtime:

    python3 -m venv .qnn
    .qnn/bin/pip install onnxruntime onnxruntime-qnn onnx pillow
    .qnn/bin/python build_qnn.py [FOLDER]

model_int8.onnx, where there is one, is compiled with the very codes that were measured. Else model_float.onnx
is rounded to 8 bits here, its ranges found by the golden pictures, or better by those of a FOLDER of yours.
"""

import os
import sys

import numpy as np
from calibration import inputs
from classifier import HERE, golden

ARCHITECTURE = "68"  # of the QCS6490's Hexagon
VTCM_MB = "2"  # its memory beside the unit
PROVIDER = "QNNExecutionProvider"
TRIED = 4  # golden pictures: the emulated NPU takes its time


def main() -> None:
    """Builds the file and says how many golden pictures the emulated NPU answers as was measured."""
    os.chdir(HERE)
    source = "model_int8.onnx"
    if not os.path.exists(source):
        source = "rounded.onnx"
        quantize("model_float.onnx", inputs(*sys.argv[1:2]), source)
    scores, values = golden("scores"), inputs()[:TRIED]
    ours = compiled(source, values)
    same = int((ours.argmax(1) == scores[: len(values)].argmax(1)).sum())
    print(f"model_qnn.onnx is made; emulated, {same} of {len(values)} golden pictures get their answer")
    print("copy this folder to the board, where the scripts use it; verify.py first")


def quantize(source: str, values: np.ndarray, target: str) -> None:
    """Rounds a float graph to 8 bits, activations by tensor and weights by channel, as the NPU takes them."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType
    from onnxruntime.quantization import quantize as rounded
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    name = onnx.load(source).graph.input[0].name

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        """One picture after the other."""

        def __init__(self) -> None:
            self.left = iter(values)

        def get_next(self) -> "dict[str, np.ndarray] | None":
            one = next(self.left, None)
            return None if one is None else {name: one[None]}

    how = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    rounded(source, target, get_qnn_qdq_config(source, Pictures(), **how))


def compiled(source: str, values: np.ndarray) -> np.ndarray:
    """Writes model_qnn.onnx and returns the emulated NPU's scores [n, classes]. Ends where an operator would
    be left to the processor.
    """
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    found = [device for device in onnxruntime.get_ep_devices() if device.ep_name == PROVIDER]
    options = onnxruntime.SessionOptions()
    for name, value in (
        ("ep.context_enable", "1"),
        ("ep.context_embed_mode", "1"),
        ("ep.context_file_path", "part.onnx"),
        ("session.disable_cpu_ep_fallback", "1"),
    ):
        options.add_session_config_entry(name, value)
    how = {
        "backend_path": onnxruntime_qnn.get_qnn_htp_path(),
        "htp_arch": ARCHITECTURE,
        "vtcm_mb": VTCM_MB,
        "htp_graph_finalization_optimization_mode": "3",
        "enable_htp_shared_memory_allocator": "0",  # there is no NPU here
    }
    options.add_provider_for_devices(found[:1], how)
    if os.path.exists("part.onnx"):
        os.remove("part.onnx")
    session = onnxruntime.InferenceSession(source, sess_options=options)
    os.replace("part.onnx", "model_qnn.onnx")
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0].reshape(1, -1) for one in values])


if __name__ == "__main__":
    main()
