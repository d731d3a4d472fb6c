"""A PyTorch model for a Coral board, full INT8 TFLite of operators that the Edge TPU has, and it runs; the
same file for a microcontroller.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy import package
from engine import ask, datasets
from engine.formats.inspect import inspect_model
from engine.run import jobs
from estimator.capability import EDGE_TPU_OPERATORS

pytestmark = pytest.mark.slow
STUBS = Path(__file__).parent / "tflm"


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
    rows = (tmp_path / "operators.csv").read_text().splitlines()[1:]
    assert rows and all(row.endswith(",Edge TPU") for row in rows) and (tmp_path / "compile.sh").exists()
    check_the_microcontroller(packed_for("microcontroller", run, workspace, tmp_path / "micro"), facts)


def check_the_microcontroller(folder, facts):
    """Its program compiles against stubs of the library's public API, and runs with the model inside."""
    program, arena = (folder / "micro" / "main.cc").read_text(), facts["profile"]["peak_activation_bytes"]
    stated = int(re.search(r"kArenaBytes = (\d+)", program).group(1))
    assert arena < stated < 4 * arena + 20_000 and stated % 1024 == 0
    assert program.count("resolver.Add") == len({layer["op"] for layer in facts["profile"]["layers"]})
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler is here")
    golden = int(re.search(r"kGoldenClass = (\d+)", (folder / "micro" / "golden.h").read_text()).group(1))
    words = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}", "main.cc", "model_data.cc"]
    for answer, code in ((golden, 0), ((golden + 1) % 10, 1)):
        built = subprocess.run(
            [*words, f"-DSTUB_ANSWER={answer}", "-o", "main"],
            cwd=folder / "micro",
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stderr
        done = subprocess.run(["./main"], cwd=folder / "micro", capture_output=True, text=True)
        assert done.returncode == code and f"class {answer}" in done.stdout


def packed_for(device, run, workspace, target):
    """Unpacks what the run's 8-bit variant is for another device."""
    run = run.model_copy(update={"experiment": run.experiment.model_copy(update={"device": device})})
    for path, content in package.contents(run, run.variants[1], workspace.folder(run.id)).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(content)
    return target
