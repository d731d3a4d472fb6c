"""A ZIP of one Keras model and the names of its classes, as Teachable Machine gives it: keras_model.h5 and
labels.txt ("0 cat", "1 dog", in the order of the outputs).
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import BadInput
from engine.store import zips

MODEL, TEXT = re.compile(r"(^|/)[^/]+\.(h5|keras|hdf5)$", re.I), re.compile(r"(^|/)[^/]+\.txt$", re.I)
LEFT_BY_SYSTEMS = re.compile(r"(^|/)(__MACOSX/.*|\.DS_Store|Thumbs\.db|desktop\.ini)$|/$")
MAX_LABELS, MAX_NAME = 200_000, 100  # bytes, letters
ADVICE = "pack keras_model.h5 and labels.txt alone."


def is_labelled(names: list[str]) -> bool:
    """Tells whether a ZIP of these names holds one Keras model and texts."""
    files = [name for name in names if not LEFT_BY_SYSTEMS.search(name)]
    models = [name for name in files if MODEL.search(name)]
    return len(models) == 1 and all(TEXT.search(name) for name in files if name not in models)


def check(path: Path) -> None:
    """Checks the archive, the labels, and the model in it as any other. Raises BadInput."""
    from engine.formats.keras.check import check as check_model

    labels(path)
    with model_of(path) as (inner, _):
        check_model(inner)


@contextmanager
def model_of(path: Path) -> Iterator[tuple[Path, str]]:
    """Gives the model, unpacked, and its kind. Raises BadInput where it is no Keras file."""
    with tempfile.TemporaryDirectory() as folder, zips.open_checked(path) as archive:
        name = next(
            name for name in archive.namelist() if MODEL.search(name) and not LEFT_BY_SYSTEMS.search(name)
        )
        inner = Path(folder, "model")
        zips.unpack_entry(archive, name, inner)
        with open(inner, "rb") as stream:
            start = stream.read(4)
        if start not in (b"\x89HDF", b"PK\x03\x04"):
            raise BadInput(f"'{Path(name).name[:60]}' in the ZIP is no Keras model: {ADVICE}")
        yield inner, "keras_h5" if start == b"\x89HDF" else "keras_v3"


def labels(path: Path) -> list[str]:
    """Returns the classes that labels.txt names, in the order of the outputs; none where it is missing.

    Raises BadInput where it is no text.
    """
    with zips.open_checked(path) as archive:
        names = [n for n in archive.namelist() if TEXT.search(n) and not LEFT_BY_SYSTEMS.search(n)]
        named = [n for n in names if "label" in Path(n).name.lower() or "class" in Path(n).name.lower()]
        if not named:
            return []
        data = zips.read_entry(archive, named[0], MAX_LABELS)
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise BadInput(f"'{Path(named[0]).name[:60]}' in the ZIP is no text: {ADVICE}") from None
    numbered = [re.match(rf"{place}[\s:,]+(.+)", line) for place, line in enumerate(lines)]
    found = [m.group(1) if m else "" for m in numbered] if lines and all(numbered) else lines
    return ["".join(c for c in name if c.isprintable()).strip()[:MAX_NAME] for name in found]


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list:
    """Returns the ways to open the model, its classes named in `facts`."""
    from engine.formats.keras import open as keras_open

    names = labels(path)
    with model_of(path) as (inner, kind):
        found = keras_open.openings(inner, kind, architecture, size)
    return [replace(o, facts=o.facts | _named(names, o.classes)) for o in found]


def _named(names: list[str], classes: int) -> dict:
    return {"classes": names} if len(names) == classes and len({n.lower() for n in names}) == classes else {}


def open_model(path: Path, model: Any):
    """Opens the checked model: see `open_keras`."""
    from engine.formats.keras.open import open_keras

    with model_of(path) as (inner, kind):
        return open_keras(inner, model.model_copy(update={"format": kind}))
