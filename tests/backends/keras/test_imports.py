"""A worker never holds both frameworks, and what only runs TFLite holds neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NEVER = {
    "engine.backends.keras.framework": ("torch", "onnxruntime", "onnx"),
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
