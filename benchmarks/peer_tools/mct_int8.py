"""Sony MCT as its documentation shows it: post-training quantization of the PyTorch module, written as ONNX.

It takes modules, so the ONNX file becomes one by onnx2torch. What it writes for other runtimes than Sony's
own sensor is "fakely quantized": float weights on a grid, and operators that put activations on one.
"""

# requires: --extra-index-url=https://download.pytorch.org/whl/cpu torch==2.13.0 torchvision==0.28.0
# requires: model-compression-toolkit==2.6.1 onnx==1.22.0 onnxscript==0.7.2 onnx2torch==1.5.15
# takes: onnx

import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "models"))
from torchvision_shim import import_torchvision

import_torchvision()
# it was written for a PyTorch before 2.9, whose exporter was the other one
torch.onnx.export = partial(torch.onnx.export, dynamo=False)

import model_compression_toolkit as mct  # noqa: E402
from onnx2torch import convert  # noqa: E402

source, calibration, target = sys.argv[1:]
inputs = np.load(calibration)
module = convert(onnx.load(source)).eval()


def pictures():
    for image in inputs:
        yield [torch.from_numpy(image[None])]


began = time.perf_counter()
quantized, _ = mct.ptq.pytorch_post_training_quantization(module, pictures)
mct.exporter.pytorch_export_model(
    model=quantized,
    save_model_path=target,
    repr_dataset=pictures,
    serialization_format=mct.exporter.PytorchExportSerializationFormat.ONNX,
    quantization_format=mct.exporter.QuantizationFormat.FAKELY_QUANT,
)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "version": "Sony MCT " + mct.__version__}))
