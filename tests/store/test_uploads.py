"""Uploads: kept under their hash, whole, within a quota that no run's model or data falls victim to."""

import hashlib
import os
import time

import pytest

from engine.errors import BadInput
from engine.formats.inspect import inspect_model
from engine.store import uploads


@pytest.fixture
def home(workspace, monkeypatch):
    """A home in which all uploads together may take 1,000 bytes."""
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    monkeypatch.setattr(uploads, "MOST_PUBLIC_BYTES", 500)
    monkeypatch.setattr(uploads, "MOST_FILE_BYTES", 900)
    return workspace.home


def kept(home, letter: str, size: int = 400, hours: float = 2.0):
    """Keeps an upload as if that was some hours ago; returns its file."""
    path = uploads.keep(letter.encode() * size, home, "model")
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    return path


def test_a_file_lies_under_the_hash_of_its_bytes_and_is_young_when_it_comes_again(home):
    path = kept(home, "a")
    assert path == home / "uploads" / hashlib.sha256(b"a" * 400).hexdigest() / "model"
    assert uploads.keep(b"a" * 400, home, "model") == path and time.time() - path.stat().st_mtime < 60
    assert os.listdir(path.parent) == ["model"]


def test_the_oldest_go_first_when_the_quota_is_full(home):
    old, older, new = kept(home, "a", hours=2), kept(home, "b", hours=3), kept(home, "c", size=300)
    assert not older.parent.exists() and old.exists() and new.exists()


def test_what_a_run_uses_stays(home, workspace, asked):
    used, data, free = kept(home, "a", hours=9), kept(home, "b", size=100, hours=8), kept(home, "c", hours=2)
    model = asked().model.model_copy(update={"path": str(used)})
    workspace.create(asked().model_copy(update={"model": model, "dataset": str(data.with_name("data.zip"))}))
    kept(home, "d")
    assert used.exists() and data.exists() and not free.exists()
    with pytest.raises(BadInput, match="All uploads together may take") as caught:
        uploads.keep(b"e" * 600, home, "model")
    assert len(os.listdir(home / "uploads")) == 3  # nothing goes where that would not be enough
    assert "\n" not in str(caught.value)


def test_what_was_uploaded_a_moment_ago_stays(home):
    path = kept(home, "a", hours=0.1)
    with pytest.raises(BadInput, match="try again"):
        uploads.keep(b"b" * 700, home, "model")
    assert path.exists()


def test_a_file_that_is_too_large_is_one_sentence(home):
    with pytest.raises(BadInput, match="The file has 0 MB"):
        uploads.keep(b"a" * 901, home, "model")
    assert not (home / "uploads").exists()


def test_a_public_host_keeps_less(home, monkeypatch):
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    old, new = kept(home, "a"), kept(home, "b")
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("name", ["", "..", "../..", "a" * 64, "A" * 64, "/etc/passwd"])
def test_what_is_no_upload_is_none(home, name):
    assert uploads.model_of(name, home) is None and uploads.file_of(name, "data.zip", home) is None


def test_what_was_understood_is_remembered(home):
    path = kept(home, "a")
    model = inspect_model("digits/pytorch/small").model_copy(update={"path": str(path)})
    uploads.remember(model)
    assert uploads.model_of(path.parent.name, home) == model
    path.with_name("model.json").write_text("{")
    assert uploads.model_of(path.parent.name, home) is None
