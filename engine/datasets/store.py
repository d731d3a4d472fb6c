"""How a prepared data set lies on disk, and how it gets there whole or not at all."""
from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

FORMAT_VERSION = 1


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
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        if folder.exists() and not is_prepared(folder):
            shutil.rmtree(folder)
        try:
            temporary.rename(folder)
        except OSError:
            if not is_prepared(folder):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_arrays(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    split: dict[str, np.ndarray],
) -> dict[str, list[int]]:
    """Write the four arrays, the training images in the order calibration, validation, train.

    images: uint8 [n, h, w, c]; labels: int [n]; `split` holds index arrays into `images` by part, and for
    "test" into `test_images`. Returns by part the [start, stop) range within its file.
    """
    spans, start = {}, 0
    for part in ("calibration", "validation", "train"):
        spans[part] = [start, start + len(split[part])]
        start = spans[part][1]
    order = np.concatenate([split["calibration"], split["validation"], split["train"]])
    np.save(folder / "train_images.npy", images[order])
    np.save(folder / "train_labels.npy", labels[order].astype(np.int64))
    np.save(folder / "test_images.npy", test_images[split["test"]])
    np.save(folder / "test_labels.npy", test_labels[split["test"]].astype(np.int64))
    return {**spans, "test": [0, len(split["test"])]}


def write_meta(folder: Path, meta: dict) -> None:
    """Write `meta.json`, last of all: it is the mark of a finished folder."""
    text = json.dumps({"version": FORMAT_VERSION, **meta}, indent=1, ensure_ascii=False)
    (folder / "meta.json").write_text(text + "\n", encoding="utf-8")
