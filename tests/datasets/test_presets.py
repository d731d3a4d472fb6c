"""Presets become memory-mapped parts; the test files stay closed unless asked for."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

from engine import datasets
from engine.errors import BadInput

REAL = os.environ.get("EDGEWISE_DATA")


def test_digits_have_the_sizes_that_the_catalog_tells(home):
    info = datasets.DATASETS["digits"]
    parts = datasets.load("digits", home, datasets.PARTS)
    assert {name: len(part.labels) for name, part in parts.items()} == info.sizes
    for part in parts.values():
        assert part.images.shape[1:] == info.image_shape and part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64 and isinstance(part.images, np.memmap)
        assert len(part.images) == len(part.labels)
    assert parts["train"].images.max() == 255 and parts["train"].images.min() == 0


def test_no_digit_is_in_two_parts(home):
    from sklearn.datasets import load_digits

    parts = datasets.load("digits", home, datasets.PARTS)
    pictures = [image.tobytes() for part in parts.values() for image in part.images]
    assert len(pictures) == 1797 and len(set(pictures)) == len(np.unique(load_digits().data, axis=0))


def test_digits_look_like_their_labels(home):
    train, test = (datasets.load("digits", home, (name,))[name] for name in ("train", "test"))
    middles = np.stack([train.images[train.labels == digit].mean(0) for digit in range(10)])
    distance = ((test.images[:, None].astype(float) - middles) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == test.labels).mean() > 0.85


def test_the_test_files_are_opened_only_when_asked_for(tmp_path):
    folder = datasets.prepare("digits", tmp_path)
    (folder / "test_images.npy").unlink()
    (folder / "test_labels.npy").unlink()
    assert set(datasets.load("digits", tmp_path)) == {"train", "validation", "calibration"}
    with pytest.raises(FileNotFoundError):
        datasets.load("digits", tmp_path, ("test",))


def test_a_limited_part_keeps_the_classes_in_proportion(home):
    part = datasets.load("digits", home, ("train",), limit=100)["train"]
    assert len(part.labels) == len(part.images) == 100
    assert np.bincount(part.labels, minlength=10).min() >= 8


@pytest.mark.parametrize("dataset", ["nonsense", "../digits", "", "/nowhere/pictures.zip"])
def test_an_unknown_data_set_is_named_with_the_known_ones(dataset, tmp_path):
    with pytest.raises(BadInput, match="digits, mnist, fashion_mnist, cifar10"):
        datasets.prepare(dataset, tmp_path)
    assert not any(tmp_path.iterdir())


def test_loading_what_is_not_there_says_so(home, tmp_path):
    with pytest.raises(BadInput, match="no part 'tset'"):
        datasets.load("digits", home, ("tset",))
    with pytest.raises(BadInput, match="not prepared"):
        datasets.load("digits", tmp_path)


def test_two_processes_may_prepare_at_once(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.starmap(datasets.prepare, [("digits", tmp_path)] * 2)
    assert folders[0] == folders[1]
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["digits"]


def test_a_half_written_folder_is_made_anew(tmp_path):
    folder = datasets.prepare("digits", tmp_path)
    (folder / "meta.json").write_text("{")
    datasets.prepare("digits", tmp_path)
    assert datasets.describe("digits", tmp_path)["parts"]["test"] == [0, 359]


def test_what_a_killed_process_left_is_removed(tmp_path):
    abandoned, at_work = (tmp_path / "datasets" / f".digits.{name}" for name in ("abandoned", "at_work"))
    for folder in (abandoned, at_work):
        folder.mkdir(parents=True)
        (folder / "train_images.npy").write_bytes(b"x")
    for path in (abandoned / "train_images.npy", abandoned):
        os.utime(path, (1e9, 1e9))
    os.utime(at_work, (1e9, 1e9))
    datasets.prepare("digits", tmp_path)
    assert not abandoned.exists() and at_work.exists()


def make_archive(path, **changes):
    random = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 6_500), ("test", 40)):
        arrays[f"{part}_images"] = random.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(n, dtype=np.uint8) % 10
    np.savez(path, **arrays | changes)


def test_a_local_archive_is_used(tmp_path, monkeypatch):
    make_archive(tmp_path / "mnist.npz")
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path))
    steps = []
    datasets.prepare("mnist", tmp_path, lambda fraction, text: steps.append(fraction))
    sizes = {
        name: len(part.labels) for name, part in datasets.load("mnist", tmp_path, datasets.PARTS).items()
    }
    assert sizes == {"train": 500, "validation": 5_000, "calibration": 1_000, "test": 40}
    assert steps == sorted(steps) and steps[-1] == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": np.zeros((6_500, 28, 28, 1))},
        {"train_images": np.zeros((6_500, 32, 32, 3), np.uint8)},
        {"train_labels": np.zeros(3, np.uint8)},
        {"train_labels": np.full(6_500, 10, np.uint8)},
        {"test_images": np.array([{}], dtype=object)},
    ],
)
def test_a_wrong_archive_is_refused(changes, tmp_path, monkeypatch):
    make_archive(tmp_path / "mnist.npz", **changes)
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path))
    with pytest.raises(BadInput, match="mnist.npz"):
        datasets.prepare("mnist", tmp_path)
    assert not (tmp_path / "datasets" / "mnist").exists()


def test_a_missing_archive_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_DATA", str(tmp_path))
    with pytest.raises(BadInput, match="put cifar10.npz there"):
        datasets.prepare("cifar10", tmp_path)


def test_importing_needs_no_framework():
    code = (
        "import sys, engine.datasets, models.catalog, models.recipes\n"
        "print({'torch', 'tensorflow', 'keras', 'sklearn', 'PIL', 'torchvision'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


@pytest.mark.skipif(not REAL, reason="the real sets are needed: EDGEWISE_DATA is not set")
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10"])
def test_real_sets(dataset, tmp_path):
    datasets.prepare(dataset, tmp_path)
    parts = datasets.load(dataset, tmp_path, datasets.PARTS)
    sizes = datasets.DATASETS[dataset].sizes
    for name in ("train", "validation", "calibration"):
        assert len(parts[name].labels) == sizes[name]
    assert set(parts["calibration"].labels) == set(range(10))
    if dataset == "cifar10":
        with np.load(f"{REAL}/cifar10.npz") as archive:
            last = {image.tobytes() for image in archive["train_images"][-5_000:]}
        assert {image.tobytes() for image in parts["validation"].images} == last
