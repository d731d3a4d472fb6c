"""The runtimes' classes: what each must say of itself, and which opens a file."""

import pytest

from engine.device.model import RUNTIMES, runtime_for


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.id)
def test_a_runtime_says_what_it_is(runtime):
    assert runtime.id and runtime.requirements and runtime.__doc__
    assert all(suffix.startswith(".") for suffix in runtime.suffixes)
    assert callable(runtime.predict) and callable(runtime.run_once)


def test_a_file_is_opened_by_its_ending():
    assert runtime_for("model.onnx").id == "onnxruntime" and runtime_for("model.tflite").id == "litert"
    with pytest.raises(ValueError, match=r"no runtime here opens \.ewz files"):
        runtime_for("model.ewz")
