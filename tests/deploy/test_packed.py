"""A package is checked against limits by what it says of itself; one that was changed is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import engine
from deploy import package
from engine.errors import BadInput

RECORDED = Path(__file__).parents[1] / "run" / "recorded"
MODEL = b"the model's bytes"


@pytest.fixture
def zipped(workspace, tmp_path):
    """Returns the function that writes a package of a recorded run's baseline, with its metadata changed."""
    shutil.copytree(RECORDED, workspace.home / "runs" / "recorded")
    run = workspace.run("recorded")
    facts = package.metadata(run, run.variants[0], "model.onnx", Path("model.onnx"), {}, [], None)
    facts["artifact"]["sha256"] = hashlib.sha256(MODEL).hexdigest()

    def write(text: str = "", **changes) -> Path:
        about = text.encode() or json.dumps(facts | changes).encode()
        files = {"metadata.json": about, "model.onnx": MODEL, "SHA256SUMS": b"", "infer.py": b""}
        package.write(tmp_path / "package.zip", files)
        return tmp_path / "package.zip"

    return write


def test_a_package_is_held_against_size_accuracy_and_its_device_s_prediction(zipped, workspace):
    path, known = zipped(), workspace.run("recorded").variants[0]
    kept, broken = engine.check(path, max_size_mb=1.0, max_latency_ms=1e-6, min_accuracy=known.accuracy)
    assert [sentence.split(" ")[0] for sentence in broken] == ["latency"] and len(kept) == 2
    with pytest.raises(BadInput, match="Recall is measured by a run"):
        engine.check(path, min_class_recall=0.5)
    with pytest.raises(BadInput, match="not known"):
        engine.check(zipped(predicted=None), max_latency_ms=5)


def test_a_package_for_another_device_or_that_was_changed_is_one_sentence(zipped):
    with pytest.raises(BadInput, match="is of baseline for raspberry_pi_4"):
        engine.check(zipped(), "raspberry_pi_5", max_size_mb=1)
    for changes, says in (
        ({"text": "{"}, "can't be read"),
        ({"text": "[]"}, "Facts"),
        ({"artifact": {"file": "model.onnx", "sha256": "0" * 64}}, "not the one that was measured"),
        ({"artifact": {"file": "other.onnx", "sha256": "0" * 64}}, "can't be read"),
        ({"measured": {"accuracy": "much"}}, "measured.accuracy"),
    ):
        with pytest.raises(BadInput, match=says):
            engine.check(zipped(**changes), max_size_mb=1)
