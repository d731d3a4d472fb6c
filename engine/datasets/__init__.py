"""Labelled images on disk: prepared once as plain NumPy files, then memory-mapped by everyone.

A prepared data set is a folder `<home>/datasets/<id>/` with `train_images.npy`, `train_labels.npy`,
`test_images.npy`, `test_labels.npy` and `meta.json`. The train, validation and calibration parts are
consecutive slices of the training files, so a part is a view on the disk and costs no memory.
This module imports NumPy only; `prepare` imports what a source needs and is meant for a child process.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.datasets.archive import DEFAULT_SHAPE, name_of, prepare_archive
from engine.datasets.presets import DATASETS, DatasetInfo, prepare_preset
from engine.datasets.store import NotReady, folder_of, is_prepared
from engine.errors import BadInput

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "PARTS",
    "Part",
    "describe",
    "fingerprint",
    "load",
    "located",
    "prepare",
]

MOST_SIDE_PX = 1_024
LOOKED_AT = 1_000  # images of a file that a fingerprint reads
PARTS = ("train", "validation", "calibration", "test")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Part:
    """One part of a data set.

    images: uint8 [n, height, width, channels], a read-only memory map; labels: int64 [n], class indices.
    """

    images: np.ndarray
    labels: np.ndarray


def prepare(
    dataset: str | Path,
    home: str | Path,
    progress: Progress | None = None,
    image_shape: tuple[int, int, int] | None = None,
    fit: str = "stretch",
    upright: bool = True,
) -> Path:
    """Make a data set ready on disk and return its folder; at once when it already is.

    `dataset` is an id of DATASETS, or the path of a ZIP or folder of class folders. Images are brought to
    `image_shape` (height, width, channels; 1 channel is grey, 3 are RGB); by default a preset keeps its own
    and the others get 64x64x3. Pictures of one's own come there in the way of `engine.device.image.decode`
    (`fit`, `upright`); a preset's are stretched. `progress(fraction, text)` is called with 0..1. Two
    processes may do this at once. Raises BadInput when the id is unknown, the files are missing or wrong, or
    a download is needed and fails.
    """
    progress = progress or (lambda fraction, text: None)
    folder, image_shape = _located(dataset, home, image_shape, fit, upright)
    if is_prepared(folder):
        return folder
    if str(dataset) in DATASETS:
        prepare_preset(str(dataset), folder, image_shape, progress)
    else:
        prepare_archive(Path(dataset), folder, image_shape, progress, fit, upright)
    return folder


def describe(
    dataset: str | Path,
    home: str | Path,
    image_shape: tuple[int, int, int] | None = None,
    fit: str = "stretch",
    upright: bool = True,
) -> dict:
    """Return the `meta.json` of a prepared data set.

    Its keys: id, title, classes, image_shape, parts (part to [start, stop) in its file), class_counts (part
    to images by class), own_test_part, skipped_count, and skipped (the first of them, each with its name and
    why). Raises BadInput when the data set is unknown or not prepared yet.
    """
    folder = located(dataset, home, image_shape, fit, upright)
    if not is_prepared(folder):
        raise NotReady(str(dataset))
    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def load(
    dataset: str | Path,
    home: str | Path,
    parts: Sequence[str] = ("train", "validation", "calibration"),
    limit: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    fit: str = "stretch",
    upright: bool = True,
    classes: Sequence[str] = (),
) -> dict[str, Part]:
    """Open parts of a prepared data set, memory-mapped; the test files are touched only if "test" is asked
    for.

    `limit` keeps at most so many images of each part. Parts are stored in an order in which every
    beginning is stratified, so a limited part still holds the classes in proportion.
    Where `classes` are the set's own in another order, the labels are given in that order.
    Raises BadInput for an unknown part, an unknown data set, or one that is not prepared for `image_shape`.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise BadInput(f"There is no part '{unknown[0]}' in a data set: choose from {', '.join(PARTS)}.")
    meta = describe(dataset, home, image_shape, fit, upright)
    folder = located(dataset, home, image_shape, fit, upright)
    place = _places(meta["classes"], classes)
    return {part: _open(folder, part, meta["parts"][part], limit, place) for part in parts}


def fingerprint(
    dataset: str | Path,
    home: str | Path,
    image_shape: tuple[int, int, int] | None = None,
    fit: str = "stretch",
    upright: bool = True,
) -> str:
    """Return the SHA-256 of a prepared data set: its classes, all labels, and images evenly taken from each
    file, so that gigabytes need not be read.

    Raises BadInput as `describe` does.
    """
    meta = describe(dataset, home, image_shape, fit, upright)
    folder = located(dataset, home, image_shape, fit, upright)
    found = hashlib.sha256(json.dumps(meta["classes"]).encode())
    for name in ("train", "test"):
        found.update(np.load(folder / f"{name}_labels.npy").tobytes())
        images = np.load(folder / f"{name}_images.npy", mmap_mode="r")
        for image in images[:: max(1, len(images) // LOOKED_AT)]:
            found.update(image.tobytes())
    return found.hexdigest()


def located(
    dataset: str | Path,
    home: str | Path,
    image_shape: tuple[int, int, int] | None = None,
    fit: str = "stretch",
    upright: bool = True,
) -> Path:
    """Return the folder where a data set lies, or will lie, when it is made ready so.

    Raises BadInput where there is no such data set.
    """
    return _located(dataset, home, image_shape, fit, upright)[0]


def _places(own: Sequence[str], wanted: Sequence[str]) -> np.ndarray | None:
    """Return where each own class stands in another order of the same classes; None where it is no other."""
    if list(own) == list(wanted) or sorted(own) != sorted(wanted):
        return None
    return np.array([list(wanted).index(name) for name in own], np.int64)


def _open(folder: Path, part: str, span: Sequence[int], limit: int | None, place: np.ndarray | None) -> Part:
    start, stop = span
    if limit is not None:
        stop = min(stop, start + limit)
    file = "test" if part == "test" else "train"
    images = np.load(folder / f"{file}_images.npy", mmap_mode="r")
    labels = np.load(folder / f"{file}_labels.npy", mmap_mode="r")
    own = np.asarray(labels[start:stop])
    return Part(images[start:stop], own if place is None else place[own])


def _located(
    dataset: str | Path,
    home: str | Path,
    image_shape: tuple[int, int, int] | None,
    fit: str = "stretch",
    upright: bool = True,
) -> tuple[Path, tuple[int, int, int]]:
    """Return the folder of a data set in a shape, and the shape; raises BadInput where there is no such
    set.
    """
    if image_shape is not None and not _is_possible(image_shape):
        raise BadInput(
            f"Images can't be made {image_shape}: height and width are 1..{MOST_SIDE_PX}, channels 1 or 3."
        )
    info = DATASETS.get(str(dataset))
    if info is not None:
        if image_shape is None or tuple(image_shape) == info.image_shape:
            return folder_of(info.id, home), info.image_shape
        return folder_of(f"{info.id}-{'x'.join(map(str, image_shape))}", home), tuple(image_shape)
    if not str(dataset) or not os.path.exists(dataset):
        raise BadInput(
            f"There is no data set '{dataset}': choose from {', '.join(DATASETS)}, or give the path of a ZIP"
            " or folder of class folders."
        )
    image_shape = tuple(image_shape or DEFAULT_SHAPE)
    return folder_of(name_of(Path(dataset), image_shape, fit, upright), home), image_shape


def _is_possible(image_shape: Sequence[int]) -> bool:
    return (
        len(image_shape) == 3
        and all(1 <= side <= MOST_SIDE_PX for side in image_shape[:2])
        and image_shape[2] in (1, 3)
    )
