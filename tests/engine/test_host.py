"""Whose machine it is, and what it keeps: one reading of the environment for all."""

from pathlib import Path

import pytest

from engine.host import forgets, is_public


@pytest.mark.parametrize(
    ("value", "public"),
    [
        *((value, False) for value in (None, "", "0", "false", "No", " off ")),
        *((value, True) for value in ("1", "true", "yes", "host")),
    ],
)
def test_what_counts_as_public(monkeypatch, value, public):
    monkeypatch.delenv("EDGEWISE_PUBLIC", raising=False)
    if value is not None:
        monkeypatch.setenv("EDGEWISE_PUBLIC", value)
    assert is_public() is public


@pytest.mark.parametrize(
    ("home", "space", "lost"),
    [
        ("/home/me/.edgewise", "", False),
        ("/home/me/.edgewise", "me/fit", True),
        ("/data/runs", "me/fit", False),
    ],
)
def test_a_space_keeps_its_persistent_folder_alone(home, space, lost, monkeypatch):
    monkeypatch.setenv("SPACE_ID", space)
    assert forgets(Path(home)) == lost
