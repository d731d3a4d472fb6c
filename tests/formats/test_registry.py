"""Formats are one tuple: what is in it is taken everywhere, what is not is refused everywhere."""

import pytest

from engine import formats, frameworks
from engine.errors import BadInput
from engine.formats import refused
from engine.formats.format import named
from engine.formats.inspect import LIMITS, inspect_model
from engine.vocabulary import ModelFile
from engine.wall import sandbox
from tests.formats import dummy_format


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.bin").write_bytes(dummy_format.MARK + b" and a body")
    return tmp_path / "a.bin"


def test_a_format_more_is_taken_and_gone_again(file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(formats, "FORMATS", (*formats.FORMATS, dummy_format.FORMAT))
        assert formats.recognise(file) == "dummy" and formats.accepted()["dummy"].title == "Dummy"
        formats.check(file, "dummy")
    assert formats.recognise(file) == "text"
    with pytest.raises(BadInput, match="a file of an unknown kind"):
        formats.check(file, "dummy")
    with pytest.raises(BadInput, match="a text file"):
        inspect_model(file)


def test_a_format_more_is_inspected_behind_the_wall_and_opened(file, monkeypatch):
    request = {"path": str(file), "name": "a", "dataset": None, "home": None, "architecture": None}
    model = ModelFile.model_validate(sandbox.run("tests.formats.dummy_format", request, LIMITS))
    assert (model.format, model.framework, model.parameters, len(model.classes)) == ("dummy", "keras", 7, 3)
    with monkeypatch.context() as patch:
        patch.setattr(formats, "FORMATS", (*formats.FORMATS, dummy_format.FORMAT))
        assert formats.open_network(model) == "a network of 7 parameters"
    file.write_bytes(dummy_format.MARK + bytes(200))
    with pytest.raises(BadInput, match="shorten it"):
        sandbox.run("tests.formats.dummy_format", request, LIMITS)


@pytest.mark.parametrize("kind", [*formats.accepted(), *refused.KINDS, "no such kind"])
def test_every_kind_is_either_taken_or_refused(kind):
    if kind not in formats.accepted():
        with pytest.raises(BadInput):
            formats.openings("nowhere", kind, None, None)
    else:
        assert kind not in refused.KINDS
        assert formats.accepted()[kind].framework in frameworks.FRAMEWORKS
        assert callable(named(formats.accepted()[kind].check))
        assert callable(named(formats.accepted()[kind].openings))
        assert callable(named(formats.accepted()[kind].open))
