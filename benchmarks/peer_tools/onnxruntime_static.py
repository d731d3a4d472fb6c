"""ONNX Runtime's quantizer as its documentation shows it: pre-processing, then quantize_static with Q/DQ."""

# requires: onnx==1.23.2 onnxruntime==1.31.1 sympy==1.14.0
# takes: onnx

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

source, calibration, target = sys.argv[1:]
inputs = np.load(calibration)
name = onnx.load(source).graph.input[0].name


class Reader(CalibrationDataReader):
    def __init__(self):
        self.left = iter([{name: one[None]} for one in inputs])

    def get_next(self):
        return next(self.left, None)


began = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    ready = str(Path(folder, "ready.onnx"))
    quant_pre_process(source, ready)
    quantize_static(ready, target, Reader(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8)
print(
    json.dumps({"seconds": time.perf_counter() - began, "version": "ONNX Runtime " + onnxruntime.__version__})
)
