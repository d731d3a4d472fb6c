"""So many children at once, and one sentence for whoever waits too long."""

import pytest

from engine.errors import TooMuch
from engine.wall import turns


def test_who_finds_no_place_is_told_when_to_come_back(monkeypatch):
    monkeypatch.setattr(turns, "_places", turns.threading.BoundedSemaphore(1))
    monkeypatch.setattr(turns, "PATIENCE_S", 0.01)
    with turns.turn(), pytest.raises(TooMuch, match=r"try again in a minute\.$"), turns.turn():
        pytest.fail("a place was given twice")
    with turns.turn():
        pass
