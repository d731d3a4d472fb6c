"""Labelled images on disk: prepared once as plain NumPy files, then memory-mapped by everyone.

A prepared data set is a folder `<home>/datasets/<id>/` with `train_images.npy`, `train_labels.npy`,
`test_images.npy`, `test_labels.npy` and `meta.json`. The train, validation and calibration parts are
consecutive slices of the training files, so a part is a view on the disk and costs no memory.
This module imports NumPy only; `prepare` imports what a source needs and is meant for a child process.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.datasets.presets import DATASETS, DatasetInfo, prepare_preset
from engine.datasets.store import folder_of, is_prepared
from engine.errors import BadInput

__all__ = ["DATASETS", "DatasetInfo", "PARTS", "Part", "describe", "load", "prepare"]

PARTS = ("train", "validation", "calibration", "test")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Part:
    """One part of a data set.

    images: uint8 [n, height, width, channels], a read-only memory map; labels: int64 [n], class indices.
    """

    images: np.ndarray
    labels: np.ndarray


def prepare(dataset: str | Path, home: str | Path, progress: Progress | None = None) -> Path:
    """Make a data set ready on disk and return its folder; at once when it already is.

    `progress(fraction, text)` is called with 0..1. Two processes may prepare the same set at once.
    Raises BadInput when the id is unknown, the files are missing or wrong, or a download is needed and fails.
    """
    _check_is_preset(dataset)
    folder = folder_of(str(dataset), home)
    if not is_prepared(folder):
        prepare_preset(str(dataset), folder, progress or (lambda fraction, text: None))
    return folder


def describe(dataset: str | Path, home: str | Path) -> dict:
    """Return the `meta.json` of a prepared data set: title, classes, image shape, parts, class counts.

    Raises BadInput when the data set is unknown or not prepared yet.
    """
    _check_is_preset(dataset)
    folder = folder_of(str(dataset), home)
    if not is_prepared(folder):
        raise BadInput(f"The data set '{dataset}' is not prepared under {home}: prepare it first.")
    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def load(
    dataset: str | Path,
    home: str | Path,
    parts: Sequence[str] = ("train", "validation", "calibration"),
    limit: int | None = None,
) -> dict[str, Part]:
    """Open parts of a prepared data set, memory-mapped; the test files are touched only if "test" is asked for.

    `limit` keeps at most so many images of each part. Parts are stored in an order in which every
    beginning is stratified, so a limited part still holds the classes in proportion.
    Raises BadInput for an unknown part, an unknown data set, or one that is not prepared.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise BadInput(f"There is no part '{unknown[0]}' in a data set: choose from {', '.join(PARTS)}.")
    meta = describe(dataset, home)
    folder = folder_of(str(dataset), home)
    return {part: _open(folder, part, meta["parts"][part], limit) for part in parts}


def _open(folder: Path, part: str, span: Sequence[int], limit: int | None) -> Part:
    start, stop = span
    if limit is not None:
        stop = min(stop, start + limit)
    file = "test" if part == "test" else "train"
    images = np.load(folder / f"{file}_images.npy", mmap_mode="r")
    labels = np.load(folder / f"{file}_labels.npy", mmap_mode="r")
    return Part(images[start:stop], np.asarray(labels[start:stop]))


def _check_is_preset(dataset: str | Path) -> None:
    if str(dataset) in DATASETS:
        return
    if Path(dataset).exists():
        raise BadInput(
            f"'{Path(dataset).name}' is a data set of your own, and only presets are supported so far: "
            f"choose from {', '.join(DATASETS)}."
        )
    raise BadInput(f"There is no data set '{dataset}': choose from {', '.join(DATASETS)}.")
