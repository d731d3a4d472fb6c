"""Pictures for a trial are those that a run would measure on, in whatever size is asked for."""

import io

import numpy as np
import pytest
from PIL import Image

from engine import datasets
from engine.datasets.trial import trial_pictures
from engine.errors import BadInput
from tests.datasets.test_archive import make_folder, make_zip

SIZES = {"wide": (100, 60), "small": (20, 20)}


def noisy(seed, size=(100, 60), mode="RGB"):
    random = np.random.default_rng(seed)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8), mode).save(file, "PNG")
    return file.getvalue()


def files(mode="RGB"):
    return {f"{kind}/{i}.png": noisy(i, mode=mode) for kind in ("a", "b") for i in range(20)}


@pytest.mark.parametrize("make", [make_zip, make_folder])
@pytest.mark.parametrize("shape", [(96, 96, 3), (32, 48, 3), (24, 24, 1)])
def test_a_trial_sees_what_a_run_measures_on(make, shape, tmp_path):
    source = make(tmp_path / "mine.zip", files() | {"a/broken.png": b"no picture"})
    datasets.prepare(source, tmp_path / "home", image_shape=shape)
    part = datasets.load(source, tmp_path / "home", ("validation",), image_shape=shape)["validation"]
    with trial_pictures(str(source), tmp_path / "home") as trial:
        images, labels = trial.fitted(0, 100, shape)
        assert trial.usual_shape == (60, 100, 3) and trial.classes == ["a", "b"]
        again, _ = trial.fitted(2, 3, shape)
    assert np.array_equal(images, part.images) and np.array_equal(labels, part.labels)
    assert np.array_equal(again, images[2:3])


def test_grey_originals_are_told(tmp_path):
    with trial_pictures(str(make_zip(tmp_path / "mine.zip", files("L"))), tmp_path) as trial:
        assert trial.usual_shape == (60, 100, 1)


def test_large_pictures_are_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.datasets.trial.MOST_KEPT_BYTES", 3 * 96 * 96 * 3)
    with trial_pictures(str(make_zip(tmp_path / "mine.zip", files())), tmp_path) as trial:
        assert trial.most((96, 96, 3)) == 3 and len(trial.fitted(0, 100, (96, 96, 3))[0]) == 3
        assert trial.most((8, 8, 3)) == len(trial.labels)


@pytest.mark.parametrize("shape", [(28, 28, 1), (40, 40, 3)])
def test_a_preset_is_stretched_as_a_run_does(shape, tmp_path):
    datasets.prepare("digits", tmp_path)
    datasets.prepare("digits", tmp_path, image_shape=shape)
    part = datasets.load("digits", tmp_path, ("validation",), image_shape=shape)["validation"]
    with trial_pictures("digits", tmp_path) as trial:
        images, labels = trial.fitted(0, 50, shape)
    assert np.array_equal(images, part.images[:50]) and np.array_equal(labels, part.labels[:50])


def test_a_source_that_went_away(tmp_path):
    with (
        pytest.raises(BadInput, match="neither a file nor a folder"),
        trial_pictures("/no/such.zip", tmp_path),
    ):
        pass
