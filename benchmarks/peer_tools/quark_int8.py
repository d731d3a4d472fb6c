"""AMD Quark as its documentation shows it: ModelQuantizer, the ready configuration A8W8, the ONNX model."""

# requires: --extra-index-url=https://download.pytorch.org/whl/cpu torch==2.13.0
# requires: amd-quark==0.13 onnx==1.22.0 onnxruntime==1.28.0
# takes: onnx

import json
import sys
import time
from importlib.metadata import version

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader
from quark.onnx import A8W8_QCONFIG, ModelQuantizer


class Pictures(CalibrationDataReader):
    """The calibration images, one at a time."""

    def __init__(self, name: str, images: np.ndarray):
        self._left = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict | None:
        return next(self._left, None)


source, calibration, target = sys.argv[1:]
pictures = Pictures(onnx.load(source).graph.input[0].name, np.load(calibration))
began = time.perf_counter()
ModelQuantizer(A8W8_QCONFIG).quantize_model(source, target, pictures)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "version": "AMD Quark " + version("amd-quark")}))
