"""The list of runs: made anew where it is lost, and each trouble of SQLite told as what it is."""

import sqlite3

import pytest

from engine.errors import EdgewiseError
from engine.store import index
from engine.store.index import Index

ROWS = [
    ("a", 1.0, "done", "m", "digits", "d", "size", None, "", "", ""),
    ("b", 2.0, "queued", "m", None, "d", "size", "x", "t", "a, b", ""),
]


@pytest.fixture
def made(tmp_path, monkeypatch) -> Index:
    """An index of two runs that waits for nobody."""
    monkeypatch.setattr(index, "WAIT_S", 0.05)
    return Index(tmp_path / "index.sqlite", lambda: ROWS)


def ids(made: Index) -> list[str]:
    return [row["id"] for row in made.all()]


def test_rows_are_put_changed_and_taken_away(made):
    assert ids(made) == ["b", "a"]
    made.put(("c", 3.0, *ROWS[0][2:]))
    made.set_state("c", "failed")
    made.remove("a")
    assert ids(made) == ["c", "b"] and made.all()[0]["state"] == "failed"


@pytest.mark.parametrize("harm", ["no database at all " * 500, ""])
def test_an_index_that_is_damaged_while_in_use_is_made_anew(made, harm):
    made.path.write_text(harm)
    assert ids(made) == ["b", "a"]
    made.path.unlink()
    made.put(("c", 3.0, *ROWS[0][2:]))
    assert ids(made) == ["c", "b", "a"]


def test_pages_that_are_damaged_in_the_middle_are_made_anew(tmp_path):
    many = [(f"run{i}", float(i), *ROWS[0][2:]) for i in range(2000)]
    made = Index(tmp_path / "index.sqlite", lambda: many)
    data = bytearray(made.path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    made.path.write_bytes(bytes(data))
    assert len(made.all()) == 2000


def test_a_locked_index_is_told_as_locked(made):
    other = sqlite3.connect(made.path)
    other.execute("begin exclusive")
    with pytest.raises(EdgewiseError, match="in use by another process") as caught:
        made.put(ROWS[0])
    assert "EDGEWISE_HOME" not in str(caught.value)
    other.rollback()
    made.put(ROWS[0])


def test_a_full_disk_is_told_as_full(made):
    class Full(sqlite3.OperationalError):
        sqlite_errorcode = sqlite3.SQLITE_FULL

    assert str(made._sentence(Full("database or disk is full"))).startswith("The disk is full")


def test_a_folder_that_is_gone_is_told_as_not_writable(tmp_path):
    with pytest.raises(EdgewiseError, match="set EDGEWISE_HOME"):
        Index(tmp_path / "none" / "index.sqlite", lambda: ROWS)
