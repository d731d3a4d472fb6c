"""The one training loop, with a learner of a few lines: what it asks of a framework, and what it keeps."""

from dataclasses import replace

import numpy as np
import pytest

from engine.backends.protocol import Training
from engine.backends.training import Teacher, fit, rate
from engine.datasets import Part
from engine.vocabulary import Preprocessing

GREY = Preprocessing(height=4, width=4, color="grey", layout="NHWC", mean=[0.0], std=[1.0])
LABELS = np.array([0, 1] * 20)
PART = Part(np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype=np.uint8), LABELS)
TRAINING = Training(steps=8, batch=10, learning_rate=1.0, seed=3, evaluations=4)


class Counter:
    """Its only weight is the number of steps made; `right` gives its accuracy after each number of them."""

    def __init__(self, right: dict[int, float]):
        self.made, self.right = 0, right
        self.rates, self.wanted, self.held, self.first = [], [], [], []

    def step(self, inputs, labels, wanted, rate):
        assert inputs.shape == (10, 4, 4, 1) and labels.dtype == np.int64
        self.made += 1
        self.rates.append(rate)
        self.wanted.append(wanted)
        self.first.append(float(inputs.sum()))

    def scores(self, inputs):
        good = round(self.right.get(self.made, 0.0) * len(inputs))
        answers = np.where(np.arange(len(inputs)) < good, LABELS, 1 - LABELS)
        return np.eye(2, dtype=np.float32)[answers]

    def weights(self):
        return {"made": np.array([self.made])}

    def hold(self, masks):
        self.held.append((self.made, masks))

    def checkpoint(self):
        return self.made

    def put_back(self, checkpoint):
        self.made = checkpoint


def fitted(learner: Counter, **options) -> tuple[float, float]:
    return fit(learner, PART, PART, replace(TRAINING, **options), GREY, lambda done: None)


@pytest.mark.parametrize(
    ("right", "kept", "after"),
    [
        ({0: 0.5, 2: 0.4, 4: 0.9, 6: 0.7, 8: 0.8}, 4, 0.9),
        ({0: 0.5, 2: 0.9, 4: 0.8, 6: 0.9, 8: 0.8}, 6, 0.9),  # of equals the later one, which learned more
        ({0: 1.0, 2: 0.9, 4: 0.9, 6: 0.9, 8: 0.9}, 0, 1.0),  # training that only harms is taken back
    ],
)
def test_the_best_checkpoint_comes_back(right, kept, after):
    learner = Counter(right)
    assert fitted(learner) == (right[0], after) and learner.made == kept


def test_what_was_not_settled_is_not_kept():
    learner = Counter({0: 1.0, 2: 1.0, 4: 0.6, 6: 0.5, 8: 0.5})
    assert fitted(learner, settle=4) == (1.0, 0.6) and learner.made == 4


def test_without_evaluations_the_last_weights_stay():
    learner = Counter({0: 1.0})
    assert fitted(learner, evaluations=0) == (0.0, 0.0) and learner.made == 8


def test_masks_are_held_before_the_first_step_and_when_new_ones_come():
    learner, masks = Counter({}), {"made": np.array([True])}
    fitted(learner, masks=masks, on_step=lambda step, w: w if step == 5 and w["made"] == 5 else None)
    assert [made for made, _ in learner.held] == [0, 5] and learner.held[0][1] is masks


def test_equal_seeds_see_equal_batches():
    seen = []
    for seed in (3, 3, 4):
        learner = Counter({})
        fitted(learner, seed=seed, evaluations=0)
        seen.append(learner.first)
    assert seen[0] == seen[1] != seen[2]


def test_the_rate_warms_up_and_falls_to_nearly_nothing():
    rates = [rate(step, 100) for step in range(100)]
    assert rates[:5] == [0.2, 0.4, 0.6, 0.8, 1.0] and rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[-1] < 0.001
    learner = Counter({})
    fitted(learner, learning_rate=0.5)
    assert learner.rates == [0.5 * rate(step, 8) for step in range(8)]


def test_progress_is_told_at_every_evaluation():
    told = []
    fit(Counter({}), PART, PART, TRAINING, GREY, told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_the_teacher_answers_each_image_once_and_in_order():
    asked = []

    def answer(images):
        asked.append(len(images))
        return images.reshape(len(images), -1)[:, :2].astype(np.float32)

    known = np.full((40, 2), np.nan, np.float32)
    learner = Counter({})
    fitted(learner, teacher=Teacher(answer, PART.images, known), evaluations=0)
    assert sum(asked) == 40 and len(learner.wanted) == 8
    assert np.array_equal(known, PART.images.reshape(40, -1)[:, :2])
    chosen = np.array([7, 3, 30])
    assert np.array_equal(Teacher(answer, PART.images, known)(chosen), known[chosen]) and sum(asked) == 40
