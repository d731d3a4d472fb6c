"""Labelled pictures in any size a model may want, to find out how it wants them: what a run would measure on.

A prepared data set has one size, and pictures stretched twice are other pictures than a run sees. So a trial
reads the originals of the validation part and brings them to each size in the one way in which the run does
it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.datasets.archive import DEFAULT_SHAPE, Plan, planned
from engine.datasets.presets import DATASETS
from engine.datasets.store import NotReady, folder_of, is_prepared
from engine.device.image import FITS, NoPicture, decode_in_ways, fit, shape_of

MOST_KEPT_BYTES = 150_000_000  # of pictures of one size; with larger ones fewer are tried
LOOKED_AT = 50  # pictures whose size is read to tell the usual one
SMALL = 64  # of the first pictures all ways are read at once, since each of them is tried on those
Shape = tuple[int, int, int]
Way = tuple[str, bool]  # as `fit` and `upright` of `engine.device.image.decode`
USUAL: Way = ("stretch", True)


@dataclass
class TrialPictures:
    """Validation pictures, read when they are asked for.

    Attributes:
        classes: Names, in the order of the labels.
        labels: int64 [n].
        usual_shape: Height, width, channels of the commonest size among the originals; 1 channel where all
            that were looked at are grey.
        sizes: Height and width of those that were looked at.
        turned: How many of these an EXIF note turns.
    """

    classes: list[str]
    labels: np.ndarray
    usual_shape: Shape
    _read: Callable[[int, Shape, list[Way]], list[np.ndarray] | None]
    sizes: list[tuple[int, int]] = field(default_factory=list)
    turned: int = 0
    _kept: dict[tuple[Shape, Way], dict[int, np.ndarray | None]] = field(default_factory=dict)

    @classmethod
    def of_arrays(cls, images: np.ndarray, labels: np.ndarray, classes: list[str]) -> TrialPictures:
        """Returns uint8 images [n, height, width, channels] with int labels [n] as pictures for a trial; they
        come in the usual way alone.
        """
        shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
        return cls(classes, labels, shape, lambda index, wanted, _: [fit(np.asarray(images[index]), wanted)])

    def ways(self, shape: Shape) -> list[Way]:
        """Returns the ways of bringing these pictures to `shape` that differ at all, the usual one first."""
        height, width = shape[:2]
        fits = ["stretch"]
        # a pixel more or less of a side tells no other proportions
        if any(abs(h * width / height - w) > 1 for h, w in self.sizes):
            fits = list(FITS)
        elif any((h, w) != (height, width) for h, w in self.sizes):
            fits = ["stretch", "crop_875"]
        return [(name, upright) for upright in ([True, False] if self.turned else [True]) for name in fits]

    def most(self, shape: Shape) -> int:
        """Returns how many pictures of `shape` are at hand, by what is kept in memory."""
        return min(len(self.labels), max(1, MOST_KEPT_BYTES // int(np.prod(shape))))

    def fitted(self, start: int, stop: int, shape: Shape, way: Way = USUAL) -> tuple[np.ndarray, np.ndarray]:
        """Returns pictures start..stop as uint8 [n, height, width, channels] and their labels (int64 [n]).

        Broken ones are left out; no more are given than `most` says.
        """
        stop = min(stop, self.most(shape))
        kept = self._kept.setdefault((shape, way), {})
        for index in range(start, stop):
            if index not in kept:
                self._keep(index, shape, self.ways(shape) if index < SMALL and way != USUAL else [way])
        whole = [index for index in range(start, stop) if kept[index] is not None]
        images = [image for index in whole if (image := kept[index]) is not None]
        return np.array(images, np.uint8).reshape(len(whole), *shape), self.labels[whole]

    def _keep(self, index: int, shape: Shape, ways: list[Way]) -> None:
        images = self._read(index, shape, ways)
        for place, way in enumerate(ways):
            self._kept.setdefault((shape, way), {})[index] = images[place] if images is not None else None


@contextmanager
def trial_pictures(dataset: str, home: str | Path) -> Iterator[TrialPictures]:
    """Opens the validation part of a data set that is prepared under `home`, for as long as the context
    lasts.

    Raises BadInput when its source is gone or can't be read any more.
    """
    if dataset in DATASETS:
        yield _of_preset(dataset, home)
        return
    with planned(Path(dataset)) as plan:
        chosen = plan.split["validation"]

        def read(index: int, shape: Shape, ways: list[Way]) -> list[np.ndarray] | None:
            try:
                return decode_in_ways(plan.read(plan.names[chosen[index]]), shape, ways)
            except NoPicture:
                return None

        heads = [head for index in chosen[:LOOKED_AT] if (head := _head(plan, plan.names[index]))]
        yield TrialPictures(
            plan.classes,
            plan.labels[chosen],
            _usual([head[:3] for head in heads]),
            read,
            [head[:2] for head in heads],
            sum(head[3] for head in heads),
        )


def _head(plan: Plan, name: str) -> tuple[int, int, int, bool] | None:
    try:
        return shape_of(plan.read(name))
    except NoPicture:
        return None


def _usual(shapes: list[Shape]) -> Shape:
    if not shapes:
        return DEFAULT_SHAPE
    (height, width), _ = Counter(shape[:2] for shape in shapes).most_common(1)[0]
    return height, width, 1 if all(shape[2] == 1 for shape in shapes) else 3


def _of_preset(dataset: str, home: str | Path) -> TrialPictures:
    folder = folder_of(dataset, home)
    if not is_prepared(folder):
        raise NotReady(dataset)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    start, stop = meta["parts"]["validation"]
    images = np.load(folder / "train_images.npy", mmap_mode="r")[start:stop]
    labels = np.asarray(np.load(folder / "train_labels.npy", mmap_mode="r")[start:stop])
    return TrialPictures.of_arrays(images, labels, meta["classes"])
