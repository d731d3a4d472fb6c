"""A run as one file: it comes back as it was, and what was changed, is foreign or leads out is refused."""

import hashlib
import json
import time
import zipfile
from pathlib import Path

import pytest

from engine import events
from engine.errors import BadInput
from engine.run import travel
from engine.run.operators import operators_of
from engine.run.robustness import robustness_of
from engine.store import boards
from engine.store.workspace import Workspace
from engine.vocabulary import Artifact, Variant
from estimator.calibrate import Machine


def finished(workspace, asked) -> str:
    """A run that has ended, with one variant and its file; a process of it is noted."""
    run = workspace.create(asked())
    file = workspace.folder(run) / "artifacts" / "baseline" / "model.onnx"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    path = str(file.relative_to(workspace.folder(run)))
    artifact = Artifact(path=path, format="onnx", bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    made = Variant(id="baseline", technique="baseline", status="done", accuracy=0.9, artifacts=[artifact])
    workspace.write_variant(run, made)
    workspace.append(run, events.ProcessStarted(pid=1, started=0.0, what="worker"))
    workspace.append(run, events.StateChanged(state="done"))
    (workspace.folder(run) / "cache" / "checkpoint").write_bytes(b"x" * 1000)
    workspace.label(run, "For the line", ["night", "v2"])
    workspace.write_result(run, recommendation={"winner": "baseline", "ranking": [], "reasons": []})
    measured = {"baseline": {"images": 100, "clean": 0.9, "corrupted": {"dark": [0.8]}}}
    (workspace.folder(run) / "robustness.json").write_text(json.dumps(measured))
    times = {"baseline": [{"name": "Conv", "kind": "float", "calls": 1, "ms": 0.5}]}
    (workspace.folder(run) / "operators.json").write_text(json.dumps(times))
    boards.meet(run, Machine(board="Raspberry Pi 4 Model B Rev 1.4"), workspace)
    boards.keep(run, "baseline", boards.Measured(reason="it has no Python"), workspace)
    return run


@pytest.fixture
def packed(workspace, asked, tmp_path) -> Path:
    return travel.pack(finished(workspace, asked), workspace, tmp_path / "run.zip")


@pytest.fixture
def other(tmp_path) -> Workspace:
    return Workspace(tmp_path / "other")


def changed(packed: Path, target: Path, change) -> Path:
    """Writes the file anew; `change` gets the bytes by name, and the manifest keeps to what it leaves."""
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != travel.MANIFEST}
    manifest = {"kind": "edgewise run", "version": 1}
    manifest |= change(files) or {}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(travel.MANIFEST, json.dumps({"files": sums} | manifest))
        for name, data in files.items():
            archive.writestr(name, data)
    return target


def test_a_run_comes_back_as_it_was(workspace, packed, other):
    new = travel.unpack(packed, other)
    (old,) = workspace.runs()
    assert new != old["id"]
    was, now = workspace.run(old["id"]), other.run(new)
    assert now.variants == was.variants and now.experiment == was.experiment and now.state == "done"
    assert now.recommendation == was.recommendation is not None
    assert robustness_of(new, other) == robustness_of(old["id"], workspace) != {}
    assert operators_of(new, other) == operators_of(old["id"], workspace) != {}
    assert boards.measured(new, other) == boards.measured(old["id"], workspace) != {}
    assert boards.machine_of(new, other).board == "Raspberry Pi 4 Model B Rev 1.4"
    assert other.label_of(new) == workspace.label_of(old["id"]) and other.runs()[0]["tags"] == "night, v2"
    assert (other.folder(new) / "artifacts/baseline/model.onnx").read_bytes() == b"weights"
    assert not list((other.folder(new) / "cache").iterdir())
    # its processes are another machine's: here nobody may be killed for them
    assert not any(isinstance(event, events.ProcessStarted) for event in other.events(new))


def test_the_same_run_gives_the_same_bytes(workspace, packed, tmp_path):
    again = travel.pack(workspace.runs()[0]["id"], workspace, tmp_path / "again.zip")
    assert again.read_bytes() == packed.read_bytes()


def test_a_run_at_work_is_not_exported(workspace, asked, tmp_path):
    with pytest.raises(BadInput, match="still at work"):
        travel.pack(workspace.create(asked()), workspace, tmp_path / "run.zip")


def test_what_a_link_leads_to_stays_at_home(workspace, asked, tmp_path):
    run = finished(workspace, asked)
    (tmp_path / "secret").write_text("secret")
    (workspace.folder(run) / "artifacts" / "baseline" / "link.onnx").symlink_to(tmp_path / "secret")
    with zipfile.ZipFile(travel.pack(run, workspace, tmp_path / "run.zip")) as archive:
        assert "artifacts/baseline/model.onnx" in archive.namelist()
        assert not any("link" in name for name in archive.namelist())


def test_its_model_and_data_are_those_of_this_workspace(packed, other, tmp_path):
    def point_elsewhere(files):
        data = json.loads(files["experiment.json"])
        data["model"] |= {"path": "/etc/passwd", "name": "mine.onnx", "sha256": "../.."}
        data |= {"dataset": "/etc/shadow", "created": float("inf")}
        files["experiment.json"] = json.dumps(data).encode()

    run = other.run(travel.unpack(changed(packed, tmp_path / "x.zip", point_elsewhere), other))
    for path in (run.experiment.model.path, run.experiment.dataset):
        assert Path(path).is_relative_to(other.home) and not Path(path).exists()
    assert run.created <= time.time()


def rename(old, new):
    return lambda files: files.update({new: files.pop(old)})


def put(name, text):
    return lambda files: files.update({name: text.encode()})


def elsewhere(files):
    data = json.loads(files["variants/baseline.json"])
    data["artifacts"][0]["path"] = "../../../../etc/passwd"
    files["variants/baseline.json"] = json.dumps(data).encode()


def marked(files):
    data = json.loads(files["experiment.json"]) | {"device": "<img src=//elsewhere>"}
    files["experiment.json"] = json.dumps(data).encode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: files.pop("experiment.json") and None, "does not hold what a run does"),
        (put("experiment.json", "{"), "damaged"),
        (put("experiment.json", '{"schema_version": 1}'), "model"),
        (put("artifacts/../../evil", "x"), "leads out of it"),
        (put("evil.py", "x"), "does not hold what a run does"),
        (put("artifacts/.hidden", "x"), "does not hold what a run does"),
        (put("label.json", '{"title": "' + "x" * 200 + '"}'), "title"),
        (put("events.jsonl", events.written(events.StateChanged(state="running"))), "had not ended"),
        (put("variants/fp16.json", "[]"), "damaged"),
        (put("variants/fp16.json", "[" * 100_000), "damaged"),
        (put("variants/a/b.json", "{}"), "does not hold what a run does"),
        (put("artifacts/baseline/model.onnx/x", "x"), "does not hold what a run does"),
        (put("result.json", "[1]"), "damaged"),
        (put("board/baseline.json", "[1]"), "damaged"),
        (put("result.json", '{"recommendation": {"winner": {}, "ranking": [], "reasons": []}}'), "winner"),
        (marked, "no device"),
        (rename("variants/baseline.json", "variants/other.json"), "not where it says it is"),
        (elsewhere, "are missing"),
        (lambda files: {"version": 9, "edgewise": "7.0"}, "exported by Edgewise 7.0"),
        (lambda files: {"files": {}}, "does not hold what a run does"),
        (lambda files: {"files": 3}, "files"),
    ],
)
def test_what_is_no_whole_run_leaves_nothing_behind(packed, other, tmp_path, change, sentence):
    with pytest.raises(BadInput, match=sentence) as caught:
        travel.unpack(changed(packed, tmp_path / "x.zip", change), other)
    assert "\n" not in str(caught.value)
    assert other.runs() == [] and not list((other.home / "runs").iterdir())


def test_a_changed_byte_is_noticed(packed, other, tmp_path):
    target = tmp_path / "x.zip"
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"weights", b"WEIGHTS"))
    with pytest.raises(BadInput, match="was changed after"):
        travel.unpack(target, other)


def test_another_zip_is_no_run(other, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BadInput, match="holds no run"):
        travel.unpack(tmp_path / "x.zip", other)
