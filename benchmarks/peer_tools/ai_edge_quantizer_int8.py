"""AI Edge Quantizer as its documentation shows it: its static recipe, on the float file that TensorFlow's
converter makes of the Keras model (it goes by signatures, which ours do without).
"""

# requires: ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 tensorflow-cpu==2.21.0 keras==3.15.1
# takes: keras

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

source, calibration, target = sys.argv[1:]
inputs = np.load(calibration)
model = keras.models.load_model(source)
began = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    plain = Path(folder, "float.tflite")
    plain.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    signature, names = next(iter(Interpreter(model_path=str(plain)).get_signature_list().items()))
    at_work = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
    found = at_work.calibrate({signature: [{names["inputs"][0]: one[None]} for one in inputs]})
    at_work.quantize(found).export_model(target)
seconds, used = time.perf_counter() - began, "AI Edge Quantizer " + version("ai-edge-quantizer")
print(json.dumps({"seconds": seconds, "version": used}))
