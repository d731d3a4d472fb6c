"""How a prepared data set lies on disk, and how it gets there whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from engine.errors import BadInput, EdgewiseError

FORMAT_VERSION = 2
Labelled = Iterable[tuple[np.ndarray, int]]


class NotReady(BadInput):
    """A data set that was not made ready in this workspace."""

    def __init__(self, dataset: str):
        name = Path(dataset).name
        super().__init__(f"The data set '{name}' is not prepared in this workspace: prepare it first.")


def folder_of(name: str, home: str | Path) -> Path:
    """Return where the data set called `name` lies, or will lie, under the workspace `home`."""
    return Path(home) / "datasets" / name


def is_prepared(folder: Path) -> bool:
    """Tell whether `folder` holds a finished data set of this version."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return meta.get("version") == FORMAT_VERSION


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to write into, and put it in place of `folder` when all went well.

    Of two processes that finish the same folder, the first wins; the other's work is dropped.
    Raises EdgewiseError when the disk is full or may not be written.
    """
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield temporary
        if folder.exists() and not is_prepared(folder):
            shutil.rmtree(folder)
        try:
            temporary.rename(folder)
        except OSError:
            if not is_prepared(folder):
                raise
    except OSError as error:
        raise EdgewiseError(
            f"The data set can't be written under {folder.parent} ({error.strerror or error}): free some"
            " space, or set EDGEWISE_HOME to a folder that may be written."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left behind; a writer at work changes its folder within the hour."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        # Another process may finish, and so rename, its folder right now.
        with suppress(FileNotFoundError):
            if time.time() - max(path.stat().st_mtime for path in (leftover, *leftover.iterdir())) > 3_600:
                shutil.rmtree(leftover, ignore_errors=True)


def write_parts(
    folder: Path, parts: Mapping[str, Labelled], image_shape: tuple[int, int, int], classes: int
) -> dict[str, dict]:
    """Write the four arrays, one image in memory at a time.

    `parts` gives for each of train, validation, calibration and test its images (uint8 [h, w, c] of
    `image_shape`) with their class indices; it may turn out shorter than expected. Returns the entries
    "parts" (part to its [start, stop) within its file) and "class_counts" of `meta.json`.
    """
    labels: dict[str, list[int]] = {part: [] for part in parts}

    def noted(part: str) -> Iterator[np.ndarray]:
        for image, label in parts[part]:
            labels[part].append(int(label))
            yield image

    spans = {}
    for file, members in (("train", ("calibration", "validation", "train")), ("test", ("test",))):
        _write_npy(
            folder / f"{file}_images.npy", (image for part in members for image in noted(part)), image_shape
        )
        np.save(
            folder / f"{file}_labels.npy", np.array([x for part in members for x in labels[part]], np.int64)
        )
        ends = np.cumsum([len(labels[part]) for part in members]).tolist()
        spans |= {
            part: [start, stop] for part, start, stop in zip(members, [0, *ends[:-1]], ends, strict=True)
        }
    counts = {
        part: np.bincount(np.array(found, np.int64), minlength=classes).tolist()
        for part, found in labels.items()
    }
    return {"parts": spans, "class_counts": counts}


def _write_npy(path: Path, images: Iterable[np.ndarray], image_shape: tuple[int, int, int]) -> None:
    """Write an .npy file of images whose number is known only at the end.

    NumPy pads its header so that the count may grow in place; a memory map instead would keep every page
    resident.
    """

    def header(count: int) -> None:
        described = {"descr": "|u1", "fortran_order": False, "shape": (count, *image_shape)}
        np.lib.format.write_array_header_1_0(file, described)

    count = 0
    with path.open("wb") as file:
        header(0)
        for count, image in enumerate(images, start=1):  # noqa: B007 (the count of the last one)
            file.write(image.tobytes())
        file.seek(0)
        header(count)


def write_meta(folder: Path, meta: dict) -> None:
    """Write `meta.json`, last of all: it is the mark of a finished folder."""
    text = json.dumps({"version": FORMAT_VERSION, **meta}, indent=1, ensure_ascii=False)
    (folder / "meta.json").write_text(text + "\n", encoding="utf-8")
