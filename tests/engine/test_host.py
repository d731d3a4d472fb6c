"""Whose machine it is: one reading of EDGEWISE_PUBLIC for all."""

import pytest

from engine.host import is_public


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
