"""The estimator's own command line, as one runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "estimator", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )


def test_a_model_file_is_predicted_on_the_device_that_was_asked(tmp_path):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 26, 26])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    done = command("predict", tmp_path / "m.onnx", "--device", "raspberry_pi_4")
    (answer,) = json.loads(done.stdout)
    assert done.returncode == 0 and 0 < answer["low_ms"] < answer["latency_ms"] < answer["high_ms"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "no-such.onnx"), "There is no file no-such.onnx: check its path."),
        (("validate", "--test", "no-such-folder"), "no-such-folder"),
    ],
)
def test_bad_input_ends_with_one_sentence(words, sentence):
    done = command(*words)
    assert done.returncode == 1 and sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
