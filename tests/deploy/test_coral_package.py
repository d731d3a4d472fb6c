"""A PyTorch model for a Coral board: full INT8 TFLite of operators that the Edge TPU has, and it runs."""

import json
import subprocess
import sys
import zipfile

import pytest

from deploy import package
from engine import ask, datasets
from engine.formats.inspect import inspect_model
from engine.run import jobs
from estimator.capability import EDGE_TPU_OPERATORS

pytestmark = pytest.mark.slow


def test_it_is_ready_for_the_edge_tpu_and_runs(workspace, tmp_path):
    pytest.importorskip("litert_torch")
    model = inspect_model("digits/pytorch/small")
    asked = {"dataset": "digits", "techniques": ["ptq_int8"], "time_budget_s": 10}
    run_id = jobs.start(ask.build(model, device="coral_dev_board", **asked), workspace)
    jobs.wait(run_id, workspace)
    run = workspace.run(run_id)
    made = run.variants[1]
    assert run.experiment.runtime == made.host.runtime == "litert" and made.accuracy > 0.97
    assert made.capability.answer == "supported" and made.estimates["coral_dev_board"].runtime == "edgetpu"

    with zipfile.ZipFile(package.build(run_id, "ptq_int8", workspace)) as archive:
        archive.extractall(tmp_path)
    facts = json.loads((tmp_path / "metadata.json").read_text())
    assert facts["preprocessing"]["layout"] == "NHWC" and facts["artifact"]["precision"] == "int8"
    assert {layer["op"] for layer in facts["profile"]["layers"]} <= EDGE_TPU_OPERATORS
    from engine.backends.tflite.file import INT8, TFLite

    graph = TFLite.read(tmp_path / "model.tflite").graph
    assert {graph.tensors[int(end)].type for end in (*graph.inputs, *graph.outputs)} == {INT8}
    done = subprocess.run(
        [sys.executable, "infer.py", "sample.png", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={},
    )
    label = datasets.load("digits", workspace.home, ("validation",))["validation"].labels[0]
    assert json.loads(done.stdout)["index"] == label, done.stderr
