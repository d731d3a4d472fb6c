"""The right scaling, colour order and network are found by trying; what can't be found is said."""

import numpy as np
import pytest

from engine.datasets.trial import TrialPictures
from engine.errors import BadInput
from engine.formats import patience
from engine.formats.detect import assume, detect
from engine.formats.opening import Opening
from engine.formats.patience import Patience

CLASSES = ["red", "green", "blue", "dark"]


def made(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Images that are mostly of one colour, or dark; the label is the colour."""
    rng, labels = np.random.default_rng(0), np.arange(n) % 4
    images = rng.integers(0, 60, (n, 8, 8, 3)).astype(np.uint8)
    for i, label in enumerate(labels):
        if label < 3:
            images[i, ..., label] = rng.integers(120, 255, (8, 8))
    return images, labels


def pictures(n: int = 400) -> TrialPictures:
    return TrialPictures.of_arrays(*made(n), CLASSES)


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
    found = detect([opening(mean, std)], pictures(), "mine")
    assert found.accuracy == 1.0 and found.preprocessing.scale == scale
    assert found.preprocessing.mean == [mean] * 3 and not found.warnings
    assert "100.0%" in found.evidence[0] and "400" in found.evidence[0] and found.evidence[0].count("%") > 2


def test_blue_first_is_found():
    found = detect([opening(swapped=True)], pictures(), "mine")
    assert found.preprocessing.color == "bgr" and found.accuracy == 1.0


def test_a_permuted_class_order_is_named():
    found = detect([opening(order=(1, 2, 3, 0))], pictures(), "mine")
    assert "permuted" in found.warnings[0] and "green, blue, dark, red" in found.warnings[0]
    assert "another order, gives 100.0%" in found.evidence[0]


def test_a_wrong_number_of_classes_is_named():
    with pytest.raises(BadInput, match="tells 6 classes apart and the data set has 4"):
        detect([opening(classes=6)], pictures(), "mine")


def test_nothing_that_works_is_said():
    rng = np.random.default_rng(1)
    noise = Opening(None, 8, 8, 3, 4, lambda x: rng.random((len(x), 4)).astype(np.float32), facts={})
    assert "No preprocessing" in detect([noise], pictures(), "mine").warnings[0]


def test_scores_that_are_not_finite_count_as_wrong():
    broken = Opening(None, 8, 8, 3, 4, lambda x: np.full((len(x), 4), np.nan, np.float32), facts={})
    assert detect([broken], pictures(), "mine").accuracy == 0.0


def test_without_data_the_assumption_is_said():
    found = assume(opening())
    assert "assumed" in found.warnings[0] and found.accuracy is None


class Clock:
    """Seconds that pass only when a network says so: how fast this machine resizes must not decide a test."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    process_time = monotonic


@pytest.fixture
def clock(monkeypatch):
    made_clock = Clock()
    monkeypatch.setattr(patience, "time", made_clock)
    return made_clock


@pytest.mark.parametrize(
    "seconds_an_image, openings, least",
    [
        (0.0005, 1, 200),
        (0.01, 1, 8),
        (0.2, 1, 4),
        pytest.param(0.01, 40, 8, marks=pytest.mark.slow),
    ],
)
def test_slow_networks_end_in_time_with_what_was_found(clock, seconds_an_image, openings, least):
    """On a slow machine fewer images are tried, then fewer candidates; the commonest scaling is always
    tried.
    """

    def slow(x: np.ndarray) -> np.ndarray:
        clock.now += seconds_an_image * len(x)
        return opening().predict(x)

    made_slow = Opening("net", 160, 160, 3, 4, slow, facts={})
    found = detect([made_slow] * openings, pictures(), "mine", Patience(wall=3.0))
    assert clock.now < 3 + 10 * seconds_an_image
    tried = int(found.evidence[0].split(" on ")[1].split()[0].replace(",", ""))
    assert tried >= least and found.accuracy == 1.0


def test_a_round_that_the_time_breaks_off_does_not_weaken_the_one_before(clock):
    """The first round's images go through fast, the second round's first ones take all the time: what the
    first 8 images said stands.
    """
    seen = [0]

    def slowing(x: np.ndarray) -> np.ndarray:
        seen[0] += len(x)
        clock.now += 6 if seen[0] > 16 * 8 else 0  # 16 scalings on 8
        return opening().predict(x)

    patient = Patience(wall=5.0)
    found = detect([Opening(None, 64, 64, 3, 4, slowing, facts={})], pictures(), "mine", patient)
    assert found.accuracy == 1.0 and seen[0] > 16 * 8
    assert found.evidence[0].split(" on ")[1].startswith("8 ")


def of_size(side: int, seed: int = 0, count: int = 120) -> TrialPictures:
    """Large pictures whose classes differ only in detail that 64x64 copies lose: stripes of two widths."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    images = rng.integers(90, 110, (count, side, side, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, :: 2 if label else 4] += 100
    return TrialPictures.of_arrays(images, labels, ["wide", "narrow"])


def test_pictures_come_in_the_networks_own_size():
    def predict(x: np.ndarray) -> np.ndarray:
        detail = np.abs(x[..., 1:] - x[..., :-1]).mean(axis=(1, 2, 3))
        scores = np.stack([0.3 - detail, detail - 0.3], axis=1)
        return np.where((x.max(axis=(1, 2, 3)) <= 1)[:, None], scores, 0.0).astype(np.float32)

    found = detect([Opening(None, 96, 96, 3, 2, predict, facts={})], of_size(96), "mine")
    assert found.accuracy == 1.0 and found.preprocessing.scale == 1 / 255


def test_one_picture_does_not_decide_for_the_unusual():
    """Blue first names one picture of 120 more rightly: that is noise, and red first stands."""
    labels = np.arange(120) % 4
    images = np.full((120, 8, 8, 3), 100, np.uint8)
    images[..., 1] = 60 * labels[:, None, None]
    images[0, ..., 0] = 255

    def predict(x: np.ndarray) -> np.ndarray:
        told = np.rint(x[:, 1].mean(axis=(1, 2)) * 255 / 60).astype(int).clip(0, 3)
        told[x[:, 0].mean(axis=(1, 2)) > 0.9] = 3  # wrong for the first picture, if red comes first
        return np.where((x.max(axis=(1, 2, 3)) <= 1)[:, None], np.eye(4)[told], np.eye(4)[0]).astype(
            np.float32
        )

    trial = TrialPictures.of_arrays(images, labels, CLASSES)
    found = detect([Opening(None, 8, 8, 3, 4, predict, facts={})], trial, "mine")
    assert found.preprocessing.color == "rgb" and found.accuracy == 119 / 120


def test_a_permutation_is_seen_behind_a_scaling_that_answers_one_class():
    """Of two classes, always answering the first gets half: more than the right scaling's nothing."""

    def predict(x: np.ndarray) -> np.ndarray:
        fits = x.max(axis=(1, 2, 3)) <= 1
        detail = np.abs(x[..., 1:] - x[..., :-1]).mean(axis=(1, 2, 3))
        return np.where(
            fits[:, None], np.stack([detail - 0.3, 0.3 - detail], axis=1), np.array([1.0, 0.0])
        ).astype(np.float32)

    found = detect([Opening(None, 96, 96, 3, 2, predict, facts={})], of_size(96), "mine")
    assert found.preprocessing.scale == 1 / 255 and "permuted" in found.warnings[0]
    assert "100.0%" in found.warnings[0]


def test_a_scaling_that_is_not_shown_worse_is_compared_on_as_many_pictures():
    """Five scalings of six are level: all five go on, until enough pictures show that they answer alike."""
    rng = np.random.default_rng(3)
    labels = np.arange(1_500) % 4
    images = rng.integers(1, 250, (1_500, 8, 8, 1)).astype(np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0], images[:, 0, 2, 0] = 60 * labels, 0, 255

    def predict(x: np.ndarray) -> np.ndarray:
        """Right at whatever scale and offset, if light is more than dark."""
        value, dark, light = (x[:, 0, 0, i] for i in range(3))
        told = np.rint((value - dark) / np.abs(light - dark) * 255 / 60).astype(int).clip(0, 3)
        return np.eye(4, dtype=np.float32)[told]

    trial = TrialPictures.of_arrays(images, labels, CLASSES)
    evidence = detect([Opening(None, 8, 8, 1, 4, predict)], trial, "mine").evidence[0]
    assert "512 validation images" in evidence and evidence.count("100.0%") == 5
    assert evidence.count(" on ") == 2 and "(inverted) 25.0% on 8" in evidence


def test_a_small_difference_is_found_on_as_many_pictures_as_it_takes():
    """One scaling names 2 of 100 pictures more rightly than the commoner one: few pictures don't show it."""
    labels = np.arange(2_000) % 4
    images = np.full((2_000, 8, 8, 1), 10, np.uint8)
    images[:, 0, 0, 0], images[::50, 1, 1, 0] = 60 * labels, 200

    def predict(x: np.ndarray) -> np.ndarray:
        lowest, highest = (-1, 1) if x.min() < 0 else (0, 1 if x.max() <= 1 else 255)
        pixels = np.rint((x[:, 0] - lowest) / (highest - lowest) * 255)
        told = np.where((pixels[:, 1, 1] > 100) & (lowest == 0), 3, np.rint(pixels[:, 0, 0] / 60))
        return np.eye(4, dtype=np.float32)[told.astype(int) % 4]

    trial = TrialPictures.of_arrays(images, labels, CLASSES)
    found = detect([Opening(None, 8, 8, 1, 4, predict)], trial, "mine")
    assert found.preprocessing.mean == [0.5] and found.accuracy == 1.0


def test_two_swapped_classes_of_four_are_named():
    found = detect([opening(order=(0, 2, 1, 3))], pictures(), "mine")
    assert "permuted" in found.warnings[0] and "red, blue, green, dark" in found.warnings[0]
