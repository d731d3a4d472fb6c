"""The right scaling, colour order and network are found by trying; what can't be found is said."""

import numpy as np
import pytest

from engine.errors import BadInput
from engine.formats import detect as preprocessing
from engine.formats.detect import Opening, assume, detect, fit_images

CLASSES = ["red", "green", "blue", "dark"]


def made(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Images that are mostly of one colour, or dark; the label is the colour."""
    rng, labels = np.random.default_rng(0), np.arange(n) % 4
    images = rng.integers(0, 60, (n, 8, 8, 3)).astype(np.uint8)
    for i, label in enumerate(labels):
        if label < 3:
            images[i, ..., label] = rng.integers(120, 255, (8, 8))
    return images, labels


def opening(
    mean: float = 0.0, std: float = 1.0, order=(0, 1, 2, 3), swapped: bool = False, classes: int = 4
) -> Opening:
    """A network by hand that is right only for images scaled to (x/255 - mean) / std."""

    def predict(x: np.ndarray) -> np.ndarray:
        colors = x.mean(axis=(2, 3)) * std + mean
        valid = (colors.min(axis=1) > -0.05) & (colors.max(axis=1) < 1.05)
        colors = colors[:, ::-1] if swapped else colors
        scores = np.concatenate([colors, np.full((len(x), 1), 0.3)], axis=1)[:, list(order)]
        scores = np.where(valid[:, None], scores, np.eye(4)[0])
        return np.pad(scores, ((0, 0), (0, classes - 4))).astype(np.float32)

    return Opening(None, 8, 8, 3, classes, predict, facts={})


@pytest.mark.parametrize("mean, std, scale", [(0.0, 1.0, 1 / 255), (0.5, 0.5, 1 / 255)])
def test_the_scaling_is_found_with_evidence(mean, std, scale):
    found = detect([opening(mean, std)], *made(), CLASSES, "mine")
    assert found.accuracy == 1.0 and found.preprocessing.scale == scale
    assert found.preprocessing.mean == [mean] * 3 and not found.warnings
    assert "100.0%" in found.evidence[0] and "400" in found.evidence[0] and found.evidence[0].count("%") > 2


def test_blue_first_is_found():
    found = detect([opening(swapped=True)], *made(), CLASSES, "mine")
    assert found.preprocessing.color == "bgr" and found.accuracy == 1.0


def test_a_permuted_class_order_is_named():
    found = detect([opening(order=(1, 2, 3, 0))], *made(), CLASSES, "mine")
    assert "permuted" in found.warnings[0] and "green, blue, dark, red" in found.warnings[0]


def test_a_wrong_number_of_classes_is_named():
    with pytest.raises(BadInput, match="tells 6 classes apart and the data set has 4"):
        detect([opening(classes=6)], *made(), CLASSES, "mine")


def test_nothing_that_works_is_said():
    rng = np.random.default_rng(1)
    noise = Opening(None, 8, 8, 3, 4, lambda x: rng.random((len(x), 4)).astype(np.float32), facts={})
    assert "set by hand" in detect([noise], *made(), CLASSES, "mine").warnings[0]


def test_scores_that_are_not_finite_count_as_wrong():
    broken = Opening(None, 8, 8, 3, 4, lambda x: np.full((len(x), 4), np.nan, np.float32), facts={})
    assert detect([broken], *made(), CLASSES, "mine").accuracy == 0.0


def test_without_data_the_assumption_is_said():
    found = assume(opening())
    assert "assumed" in found.warnings[0] and found.accuracy is None


@pytest.mark.parametrize(
    "shape, to", [((5, 8, 8, 1), (16, 12, 3)), ((5, 8, 8, 3), (4, 4, 1)), ((5, 8, 8, 3), (8, 8, 3))]
)
def test_images_are_fitted(shape, to):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    fitted = fit_images(images, *to)
    assert fitted.shape == (5, *to) and fitted.dtype == np.uint8
    if shape[1:] == to:
        np.testing.assert_array_equal(fitted, images)


class Clock:
    """Seconds that pass only when a network says so: how fast this machine resizes must not decide a test."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made_clock = Clock()
    monkeypatch.setattr(preprocessing, "time", made_clock)
    return made_clock


@pytest.mark.parametrize(
    "seconds_an_image, openings, least", [(0.0005, 1, 300), (0.01, 1, 8), (0.2, 1, 4), (0.01, 40, 8)]
)
def test_slow_networks_end_in_time_with_what_was_found(clock, seconds_an_image, openings, least):
    """On a slow machine fewer images are tried, then fewer candidates; the commonest scaling is always
    tried.
    """

    def slow(x: np.ndarray) -> np.ndarray:
        clock.now += seconds_an_image * len(x)
        return opening().predict(x)

    made_slow = Opening("net", 224, 224, 3, 4, slow, facts={})
    found = detect([made_slow] * openings, *made(), CLASSES, "mine", until=3.0)
    assert clock.now < 3 + 8 * seconds_an_image
    tried = int(found.evidence[0].split(" on ")[1].split()[0].replace(",", ""))
    assert tried >= least and found.accuracy == 1.0


def test_a_round_that_the_time_breaks_off_does_not_weaken_the_one_before(clock):
    """The first round's images go through fast, the second round's first ones take all the time: what 64
    images said stands.
    """
    seen = [0]

    def slowing(x: np.ndarray) -> np.ndarray:
        seen[0] += len(x)
        clock.now += (
            6 if seen[0] > 5 + 14 * 64 else 0
        )  # one and four images to find out how fast it is, then 14 scalings on 64
        return opening().predict(x)

    found = detect([Opening(None, 64, 64, 3, 4, slowing, facts={})], *made(), CLASSES, "mine", until=5.0)
    assert (
        found.accuracy == 1.0
        and found.evidence[0].split(" on ")[1].startswith("64")
        and seen[0] > 5 + 14 * 64
    )
