"""A format of files in one file, for the test of the registry; as a child, it looks into such a file."""

from functools import partial
from pathlib import Path

import numpy as np

from engine import formats
from engine.errors import BadInput
from engine.formats import behind_wall
from engine.formats.format import Format, Kind, Start
from engine.formats.opening import Opening
from engine.vocabulary import ModelFile
from engine.wall.child import serve

MARK = b"DUMMYNET"


def recognise(start: Start) -> str | None:
    return "dummy" if start.head.startswith(MARK) else None


def check(path: Path) -> None:
    if path.stat().st_size > 100:
        raise BadInput("The dummy is too long: shorten it.")


def openings(path: Path, kind: str, architecture: str | None, size: int | None) -> list[Opening]:
    return [Opening(None, 8, 8, 1, 3, lambda x: np.eye(3, dtype=np.float32)[[0] * len(x)],
                    facts={"layers": 1, "parameters": 7})]  # fmt: skip


def open_network(path: Path, model: ModelFile) -> str:
    return f"a network of {model.parameters} parameters"


FORMAT = Format(
    "dummy", "Dummy", {"dummy": Kind("Dummy", "keras", f"{__package__}.dummy_format:check",
                                     f"{__package__}.dummy_format:openings",
                                     f"{__package__}.dummy_format:open_network")}, recognise
)  # fmt: skip

if __name__ == "__main__":
    formats.FORMATS = (*formats.FORMATS, FORMAT)
    serve(partial(behind_wall.look))
