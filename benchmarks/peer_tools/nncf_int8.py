"""NNCF as its documentation shows it: nncf.quantize on the ONNX model, everything else left as it is."""

# requires: nncf==3.4.0 onnx==1.23.2 onnxruntime==1.31.1
# takes: onnx

import json
import sys
import time

import nncf
import numpy as np
import onnx

source, calibration, target = sys.argv[1:]
inputs = np.load(calibration)
model = onnx.load(source)
name = model.graph.input[0].name
began = time.perf_counter()
made = nncf.quantize(
    model,
    nncf.Dataset([one[None] for one in inputs], lambda one: {name: one}),
    subset_size=len(inputs),
)
onnx.save(made, target)
print(json.dumps({"seconds": time.perf_counter() - began, "version": "NNCF " + nncf.__version__}))
