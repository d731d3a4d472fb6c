"""Model files: what is it (`recognise`), may it be opened (`check`), how (`openings`): the registry.

A format is a folder with a `FORMAT` and one entry in `FORMATS`. `recognise` goes by content, never by name,
and imports no framework. What `check` and `openings` call may, so they belong behind the wall.
"""

from pathlib import Path
from typing import Any

from engine.formats import foreign, refused
from engine.formats.format import Format, Kind, Start, named
from engine.formats.keras import FORMAT as KERAS
from engine.formats.onnx import FORMAT as ONNX
from engine.formats.tflite import FORMAT as TFLITE
from engine.formats.torch import FORMAT as TORCH
from engine.formats.unchanged import unchanged
from engine.vocabulary import ModelFile

__all__ = ["FORMATS", "accepted", "check", "open_network", "opener_of", "openings", "recognise"]

FORMATS: tuple[Format, ...] = (TORCH, ONNX, KERAS, TFLITE)


def accepted() -> dict[str, Kind]:
    """Returns the kinds of files that are taken, by id (`ModelFile.format`)."""
    return {id: kind for format in FORMATS for id, kind in format.kinds.items()}


def recognise(path: str | Path) -> str:
    """Returns what a file is: a key of `accepted()`, or one of `refused.KINDS`.

    Reads the first 64 KB, and the directory and pickle of a ZIP. Raises BadInput for a damaged container.
    """
    start = Start.of(Path(path))
    for format in FORMATS:
        if found := format.recognise(start):
            return found
    return foreign.recognise(start)


def check(path: str | Path, kind: str) -> None:
    """Checks a file of an accepted kind before anything loads it; refuses every other kind.

    Raises BadInput with one sentence: what is wrong, why, what to do.
    """
    named(_accepted(kind).check)(Path(path))


def openings(path: str | Path, kind: str, architecture: str | None, size: int | None) -> list:
    """Returns the ways to open a checked file, as `Opening`s. `size`: of the images, in pixels.

    Raises BadInput when it is no image classifier, or of a kind that is not taken.
    """
    return named(_accepted(kind).openings)(Path(path), kind, architecture, size)


def open_network(model: ModelFile) -> Any:
    """Opens a checked model file as a network of its framework. PyTorch: float32 [n, channels, height, width]
    in; Keras: [n, height, width, channels]; [n, classes] out.

    Raises BadInput when the file was changed since it was checked, or its framework can't follow it.
    """
    return named(_accepted(model.format).open)(unchanged(model), model)


def opener_of(model: ModelFile) -> str:
    """Returns the module that `open_network` imports for a model, without importing it."""
    return _accepted(model.format).open.split(":")[0]


def _accepted(kind: str) -> Kind:
    kinds = accepted()
    if kind not in kinds:
        raise refused.refusal(kind)
    return kinds[kind]
