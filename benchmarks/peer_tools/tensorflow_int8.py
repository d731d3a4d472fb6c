"""TensorFlow's converter as LiteRT's documentation shows full integer quantization, of the Keras model."""

# requires: tensorflow-cpu==2.21.0 keras==3.15.1
# takes: keras

import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

source, calibration, target = sys.argv[1:]
inputs = np.load(calibration)
model = keras.models.load_model(source)
began = time.perf_counter()
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([one[None]] for one in inputs)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
with open(target, "wb") as file:
    file.write(converter.convert())
print(json.dumps({"seconds": time.perf_counter() - began, "version": "TensorFlow " + tf.__version__}))
