"""The data sets that everyone knows, from scikit-learn, a local folder or torchvision's downloads."""

from __future__ import annotations

import importlib.util
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.datasets.split import split_four_ways, split_training_part, stratified_order
from engine.datasets.store import write_meta, write_parts, written_whole
from engine.device.image import fit
from engine.errors import BadInput
from models.torchvision_shim import import_torchvision

Progress = Callable[[float, str], None]
MOST_PREPARED_BYTES = 6_000_000_000
FEWEST_TRAINING_IMAGES = 1_000


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a preset without loading it. `sizes` counts images by part."""

    id: str
    title: str
    text: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    sizes: dict[str, int]


_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MNIST_SIZES = {"train": 54_000, "validation": 5_000, "calibration": 1_000, "test": 10_000}

DATASETS: dict[str, DatasetInfo] = {
    info.id: info
    for info in (
        DatasetInfo(
            "digits",
            "Digits",
            "1,797 handwritten digits of scikit-learn, enlarged from 8x8; always offline",
            _DIGITS,
            (28, 28, 1),
            {"train": 1_078, "validation": 180, "calibration": 180, "test": 359},
        ),
        DatasetInfo("mnist", "MNIST", "70,000 handwritten digits", _DIGITS, (28, 28, 1), _MNIST_SIZES),
        DatasetInfo(
            "fashion_mnist",
            "Fashion-MNIST",
            "70,000 grey pictures of clothes",
            _CLOTHES,
            (28, 28, 1),
            _MNIST_SIZES,
        ),
        DatasetInfo(
            "cifar10",
            "CIFAR-10",
            "60,000 small colour pictures of ten kinds of things",
            _CIFAR,
            (32, 32, 3),
            {"train": 44_000, "validation": 5_000, "calibration": 1_000, "test": 10_000},
        ),
    )
}


def prepare_preset(dataset: str, folder: Path, image_shape: tuple[int, int, int], progress: Progress) -> None:
    """Fetch the preset and write it as `folder`, its images stretched to `image_shape` where that differs.

    Training images beyond MOST_PREPARED_BYTES are left out; the order is stratified, so the classes keep
    their shares. Raises BadInput when its archive is missing or wrong, or the download fails.
    """
    info = DATASETS[dataset]
    progress(0.0, f"Fetching {info.title}")
    images, labels, test_images, test_labels, split = (
        _digits() if dataset == "digits" else _with_own_test_part(info)
    )
    room = MOST_PREPARED_BYTES // math.prod(image_shape) - sum(
        len(split[part]) for part in split if part != "train"
    )
    if room < FEWEST_TRAINING_IMAGES:
        raise BadInput(
            f"{info.title} at {image_shape[1]}x{image_shape[0]} would fill the disk: use a model of smaller"
            " input."
        )
    split["train"] = split["train"][:room]
    total, done = sum(map(len, split.values())), 0

    def pictures(part: str) -> Iterator[tuple[np.ndarray, int]]:
        nonlocal done
        from_images, from_labels = (test_images, test_labels) if part == "test" else (images, labels)
        for index in split[part]:
            done += 1
            if done % 2_000 == 0:
                progress(0.3 + 0.7 * done / total, f"Writing {info.title}")
            yield fit(from_images[index], image_shape), from_labels[index]

    with written_whole(folder) as temporary:
        described = write_parts(
            temporary, {part: pictures(part) for part in split}, image_shape, len(info.classes)
        )
        write_meta(
            temporary,
            {
                "id": info.id,
                "title": info.title,
                "classes": list(info.classes),
                "image_shape": list(image_shape),
                **described,
                "own_test_part": dataset != "digits",
                "skipped_count": 0,
                "skipped": [],
            },
        )
    progress(1.0, f"{info.title} is ready")


def _digits():
    """scikit-learn's digits, 8x8 of 0..16, as 28x28x1 of 0..255.

    Its table is read as it lies there: to import the library for it takes a second.
    """
    from PIL import Image

    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise BadInput("The digits come with scikit-learn, which is not installed: pip install scikit-learn.")
    table = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    small, labels = table[:, :-1], table[:, -1].astype(np.int64)
    small = np.rint(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    enlarged = [
        np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR)) for image in small
    ]
    images = np.stack(enlarged)[..., None]
    return images, labels, images, labels, split_four_ways(labels)


def _with_own_test_part(info: DatasetInfo):
    """MNIST, Fashion-MNIST or CIFAR-10, whose own test part is kept apart."""
    local = os.environ.get("EDGEWISE_DATA")
    images, labels, test_images, test_labels = (
        _from_archive(info, Path(local)) if local else _from_download(info)
    )
    split = split_training_part(
        labels, validation=5_000, calibration=1_000, validation_is_last=info.id == "cifar10"
    )
    split["test"] = stratified_order(test_labels)
    return images, labels, test_images, test_labels, split


def _from_archive(info: DatasetInfo, local: Path) -> tuple[np.ndarray, ...]:
    path = local / f"{info.id}.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = tuple(
                archive[name] for name in ("train_images", "train_labels", "test_images", "test_labels")
            )
    except FileNotFoundError:
        raise BadInput(
            f"{info.title} is not in the folder that EDGEWISE_DATA names: put {path.name} there, "
            "or unset the variable to download it."
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} is no archive of {info.title} ({error}): replace it or delete it.") from None
    for images, labels in (arrays[:2], arrays[2:]):
        fits = (
            images.dtype == np.uint8
            and images.shape[1:] == info.image_shape
            and labels.shape == images.shape[:1]
        )
        if not fits or labels.max(initial=0) >= len(info.classes):
            raise BadInput(
                f"{path} does not hold {info.title}: images must be uint8 [n,"
                f" {', '.join(map(str, info.image_shape))}] with one label of 0..{len(info.classes) - 1}"
                " each."
            )
    return arrays


def _from_download(info: DatasetInfo) -> tuple[np.ndarray, ...]:
    datasets = import_torchvision().datasets
    source = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[
        info.id
    ]
    with tempfile.TemporaryDirectory() as cache:
        try:
            train, test = (source(cache, train=part, download=True) for part in (True, False))
        except (OSError, RuntimeError) as error:
            raise BadInput(
                f"{info.title} could not be downloaded ({type(error).__name__}): go online, or set"
                f" EDGEWISE_DATA to a folder with {info.id}.npz; the data set 'digits' always works offline."
            ) from None
        arrays = (train.data, train.targets, test.data, test.targets)
        images, labels, test_images, test_labels = (np.asarray(array) for array in arrays)
    if images.ndim == 3:
        images, test_images = images[..., None], test_images[..., None]
    return images, labels, test_images, test_labels
