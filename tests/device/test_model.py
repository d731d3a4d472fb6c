"""The runtimes' classes: what each must say of itself, and which opens a file."""

import numpy as np
import pytest

from deploy.targets import requirements
from engine.device import model
from engine.device.model import RUNTIMES, open_model, runtime_for
from engine.judge import measure


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.id)
def test_a_runtime_says_what_it_is(runtime):
    assert runtime.id and runtime.requirements and runtime.__doc__
    assert all(suffix.startswith(".") for suffix in runtime.suffixes)
    assert callable(runtime.predict) and callable(runtime.run_once)


def test_a_file_is_opened_by_its_ending():
    assert runtime_for("model.onnx").id == "onnxruntime" and runtime_for("model.tflite").id == "litert"
    with pytest.raises(ValueError, match=r"no runtime here opens \.ewz files"):
        runtime_for("model.ewz")


class Table:
    """A runtime of one class: a file of comma-separated weights, a row a class."""

    id = "table"
    suffixes = (".csv",)
    requirements = ("csv-reader>=1",)

    def __init__(self, path, threads=1, int4_weights=False, exact=False):
        self.version, self.threads = "1", threads
        self.weights = np.loadtxt(path, delimiter=",", dtype=np.float32)

    def predict(self, inputs):
        """Returns scores [n, classes]."""
        return inputs.reshape(len(inputs), -1) @ self.weights.T

    def run_once(self, one):
        """Runs one input."""
        self.predict(one)


def test_a_new_runtime_is_one_class_and_one_name(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "RUNTIMES", (*RUNTIMES, Table))
    path = tmp_path / "weights.csv"
    path.write_text("1,0,0,0\n0,0,0,1\n")
    opened = open_model(path, threads=2)
    assert opened.id == "table" and opened.threads == 2 and "csv-reader>=1" in requirements(None, ".csv")
    scores = opened.predict(np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1))
    assert scores.tolist() == [[0, 3], [4, 7]]
    times = measure.time_interleaved({"it": lambda: opened.run_once(np.zeros((1, 2, 2, 1)))}, 0.05, 400)
    assert times["it"]
    monkeypatch.undo()
    with pytest.raises(ValueError, match="no runtime here"):
        runtime_for(path)
