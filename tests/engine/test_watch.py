"""What is told of runs and uploads: lines of JSON, and nothing in them that opens a run or quotes a file."""

import io
import json
import logging

import pytest

from engine import events, watch
from engine.errors import BadInput
from engine.formats.inspect import inspect_model
from engine.store import uploads


@pytest.fixture
def told(monkeypatch):
    """Has this process tell, and returns what reads its lines."""
    out = io.StringIO()
    monkeypatch.setattr(watch.LOG, "handlers", [])
    monkeypatch.setattr(watch, "REFUSED", watch.Counter())
    watch.set_up(out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    watch.LOG.propagate = True
    watch.LOG.setLevel(logging.NOTSET)


def test_a_run_is_told_without_what_opens_it_and_what_files_say(told, workspace, asked):
    run = workspace.create(asked())
    workspace.append(run, events.StateChanged(state="running"))
    workspace.append(run, events.Logged(text="secret.onnx"))
    workspace.append(run, events.LineChanged(technique="fp16", status="failed", reason="secret.onnx"))
    workspace.append(run, events.MemoryPeak(bytes=1))
    lines = told()
    assert run not in str(lines) and "secret" not in str(lines)
    assert [(line["event"], line["level"], line["run"]) for line in lines] == [
        ("run", "info", run[:8]),
        ("technique", "warning", run[:8]),
    ]
    assert lines[0]["state"] == "running" and lines[1]["status"] == "failed"


@pytest.mark.parametrize(("level", "many"), [("debug", 2), ("WARNING", 0), ("loud", 1)])
def test_the_level_is_set_from_outside(told, workspace, asked, monkeypatch, level, many):
    monkeypatch.setenv("EDGEWISE_LOG_LEVEL", level)
    watch.set_up(watch.LOG.handlers[0].stream)
    run = workspace.create(asked())
    workspace.append(run, events.StateChanged(state="running"))
    workspace.append(run, events.MemoryPeak(bytes=1))
    assert len(told()) == many


def test_refused_uploads_are_counted_by_why(told, workspace, monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "MOST_FILE_BYTES", 9)
    with pytest.raises(BadInput):
        uploads.keep(b"secret secret", workspace.home, "model")
    (tmp_path / "secret.onnx").write_bytes(b"garbage")
    with pytest.raises(BadInput):
        inspect_model(tmp_path / "secret.onnx")
    assert watch.REFUSED == {"too_large": 1, "model_refused": 1}
    lines = told()
    assert [line["reason"] for line in lines] == ["too_large", "model_refused"] and "secret" not in str(lines)
