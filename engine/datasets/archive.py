"""A data set of one's own: a ZIP or a folder with one folder of pictures a class, with or without train and
test.

Pictures are read one at a time, in the order in which they are stored, so 100,000 of them need no more memory
than ten. What is no picture, or a broken one, is skipped and listed in `meta.json`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from engine.datasets.entries import Entries, opened
from engine.datasets.filenames import read_names
from engine.datasets.labels import read_tables
from engine.datasets.layout import Layout, composed, read_layout
from engine.datasets.split import split_four_ways, stratified_order
from engine.datasets.store import write_meta, write_parts, written_whole
from engine.device.image import NoPicture, decode
from engine.errors import BadInput, shortened

Progress = Callable[[float, str], None]

DEFAULT_SHAPE = (64, 64, 3)
FEWEST_IMAGES_A_CLASS = 5
MOST_CLASSES = 1_000
MOST_CALIBRATION = 1_000
SKIPPED_LISTED = 200

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_LEFTOVERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")


def name_of(
    source: Path, image_shape: tuple[int, int, int], fit: str = "stretch", upright: bool = True
) -> str:
    """Return the name of the prepared folder: another source, a change of it, another shape or way to bring
    pictures to it gives another.

    A ZIP is told by its path, size and time; a folder by the times of all folders in it, which change when
    files come, go or are renamed.
    """
    identity = hashlib.sha256(str(source.resolve()).encode("utf-8", "surrogateescape"))
    for path in [source, *(Path(folder) for folder, _, _ in os.walk(source))]:
        status = path.stat()
        identity.update(
            f"|{path.name}|{status.st_size}|{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
        )
    way = ("" if fit == "stretch" else f"-{fit}") + ("" if upright else "-as_stored")
    return f"own-{identity.hexdigest()[:16]}-{'x'.join(map(str, image_shape))}{way}"


def prepare_archive(
    source: Path,
    folder: Path,
    image_shape: tuple[int, int, int],
    progress: Progress,
    fit: str = "stretch",
    upright: bool = True,
) -> None:
    """Read a ZIP or folder of class folders and write it as the prepared data set `folder`; `fit` and
    `upright` as in `engine.device.image.decode`.

    Raises BadInput for a hostile or unreadable archive, fewer than two classes, or too few usable pictures.
    """
    progress(0.0, f"Looking through {source.name}")
    with planned(source) as plan, written_whole(folder) as temporary:
        skipped = list(plan.skipped)
        reader = _Reader(plan, lambda content: decode(content, image_shape, fit, upright), skipped, progress)
        described = write_parts(
            temporary,
            {part: reader.read(indices) for part, indices in plan.split.items()},
            image_shape,
            len(plan.classes),
        )
        _check_result(described["class_counts"], plan.classes, source)
        write_meta(
            temporary,
            {
                "id": folder.name,
                "title": source.stem,
                "classes": plan.classes,
                "image_shape": list(image_shape),
                **described,
                "own_test_part": plan.own_test_part,
                "skipped_count": len(skipped),
                "skipped": skipped[:SKIPPED_LISTED],
                "notes": plan.notes,
            },
        )
    progress(1.0, f"{source.name} is ready")


@dataclass(frozen=True)
class Plan:
    """What becomes of an archive's files, before any of them is decoded.

    Attributes:
        names: Of the labelled pictures; `read` returns the bytes of one, or raises NoPicture.
        labels: int64 [n], indices into `classes`.
        split: Indices (int64) into `names` by part, each in stratified order.
        skipped: What is left out, each with its name and why.
        notes: What was understood, as sentences.
    """

    names: list[str]
    read: Callable[[str], bytes]
    labels: np.ndarray
    classes: list[str]
    split: dict[str, np.ndarray]
    own_test_part: bool
    skipped: list[dict]
    notes: list[str]


@contextmanager
def planned(source: Path) -> Iterator[Plan]:
    """Open a ZIP or folder and tell what each file in it is; the same every time. Raises BadInput."""
    with opened(source) as entries:
        pictures, others = _pictures(entries.names)
        layout = _layout(pictures, others, entries, source)
        kinds = [composed(kind) for _, _, kind in layout.pictures]
        _check_classes(Counter(kinds), source, "")
        classes = layout.classes()
        place = {kind: index for index, kind in enumerate(classes)}
        labels = np.array([place[kind] for kind in kinds])
        subsets = [part for _, part, _ in layout.pictures]
        skipped = [{"name": name, "why": "is no picture"} for name in others]
        skipped += [{"name": name, "why": why} for name, why in layout.left_out.items()]
        yield Plan(
            [name for name, _, _ in layout.pictures],
            entries.read,
            labels,
            classes,
            _split(labels, subsets),
            "test" in subsets or "val" in subsets,
            skipped,
            layout.notes,
        )


class _Reader:
    """Decodes pictures by index and notes which it had to skip."""

    def __init__(
        self,
        plan: Plan,
        decoded: Callable[[bytes], np.ndarray],
        skipped: list[dict],
        progress: Progress,
    ):
        self.plan, self.decoded = plan, decoded
        self.skipped, self.progress, self.done = skipped, progress, 0

    def read(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        for index in indices:
            self.done += 1
            if self.done % 100 == 0:
                total = len(self.plan.names)
                self.progress(self.done / total, f"{self.done:,} of {total:,} pictures")
            name = self.plan.names[index]
            try:
                image = self.decoded(self.plan.read(name))
            except NoPicture as why:
                self.skipped.append({"name": name, "why": str(why)})
                continue
            yield image, self.plan.labels[index]


def _pictures(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Separate pictures from other files; what operating systems leave behind is not even mentioned."""
    pictures, others = [], []
    for name in names:
        path = PurePosixPath(name)
        if any(part.startswith((".", *_LEFTOVERS)) for part in path.parts) or path.name in (
            "Thumbs.db",
            "desktop.ini",
        ):
            continue
        (pictures if path.suffix.lower() in _SUFFIXES else others).append(name)
    return pictures, others


def _layout(pictures: list[str], others: list[str], entries: Entries, source: Path) -> Layout:
    """Reads classes and parts from the folders' names, or, where these are no classes, from a table of
    labels, or from the pictures' own names.
    """
    refused = None
    try:
        found = read_layout(pictures, source.name)
        if len(found.classes()) > 1:
            return found
    except BadInput as error:
        refused = error
    if (labelled := read_tables(pictures, others, entries.read)) is not None:
        return labelled
    if (named := read_names(pictures)) is not None:
        return named
    if refused is not None:
        raise refused
    return found


def _split(labels: np.ndarray, subsets: list[str]) -> dict[str, np.ndarray]:
    """Return indices by part. A test folder (or else a validation folder) becomes the test part."""
    subset = np.array(subsets)
    if not any(subsets):
        return split_four_ways(labels)

    def ordered(mask: np.ndarray) -> np.ndarray:
        members = np.flatnonzero(mask)
        return members[stratified_order(labels[members])]

    test = "test" if "test" in subsets else "val"
    train = ordered(subset == "train")
    if test == "test" and "val" in subsets:
        validation = ordered(subset == "val")
    else:
        validation, train = np.split(train, [round(0.1 * len(train))])
    calibration, train = np.split(train, [min(MOST_CALIBRATION, round(0.1 * len(train)))])
    return {
        "train": train,
        "validation": validation,
        "calibration": calibration,
        "test": ordered(subset == test),
    }


def _check_classes(counts: Counter, source: Path, usable: str) -> None:
    if len(counts) < 2:
        raise BadInput(
            f"'{source.name}' has {['no', 'one'][len(counts)]} class folder with pictures; a classifier needs"
            " two or more: put each class's pictures into a folder of its own, or add a labels.csv with the"
            " columns file and label."
        )
    if len(counts) > MOST_CLASSES:
        raise BadInput(
            f"'{source.name}' has {len(counts):,} class folders; at most {MOST_CLASSES:,} are taken."
        )
    name, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < FEWEST_IMAGES_A_CLASS:
        raise BadInput(
            f"The class '{shortened(name, 80)}' of '{source.name}' has {fewest} {usable}pictures; "
            f"at least {FEWEST_IMAGES_A_CLASS} a class are needed."
        )


def _check_result(class_counts: dict[str, list[int]], classes: list[str], source: Path) -> None:
    """Refuse what came out too small: too many broken pictures, or a class that the training part lacks."""
    totals = np.sum(list(class_counts.values()), axis=0)
    _check_classes(Counter(dict(zip(classes, totals.tolist(), strict=True))), source, "usable ")
    for part, counts in class_counts.items():
        if sum(counts) == 0:
            raise BadInput(f"'{source.name}' has too few pictures: none are left for the {part} part.")
    for name, count in zip(classes, class_counts["train"], strict=True):
        if count == 0:
            raise BadInput(
                f"The class '{shortened(name, 80)}' of '{source.name}' has no usable picture in the"
                " training part."
            )
