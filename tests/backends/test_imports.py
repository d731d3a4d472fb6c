"""A worker never holds both frameworks, what only runs TFLite holds neither, and no run waits for what only
an uploaded ONNX file needs.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEVER = {
    "engine.backends.keras.framework": ("torch", "onnxruntime", "onnx"),
    "engine.backends.onnx.format": ("sympy", "onnxscript", "onnx_ir"),
    "engine.backends.torch.export_tflite": ("litert_torch", "tensorflow", "onnx"),
    "engine.formats.torch.open": ("sympy", "onnxscript", "onnx_ir", "torchvision"),
    "engine.device.model": ("torch", "tensorflow", "keras", "onnxruntime", "ai_edge_litert"),
    "estimator.profile.graph": ("torch", "tensorflow", "keras"),
    "engine.techniques": ("torch", "tensorflow", "keras", "ai_edge_litert"),
}


@pytest.mark.parametrize("module", NEVER)
def test_what_a_module_brings_along(module):
    code = f"import sys, {module}; print(*[name for name in {NEVER[module]!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.split() == []
