"""The one training loop, for every framework: batches, learning rate, masks, checkpoints, progress.

A framework gives a `Learner`: how one step is made, and how the weights are kept and put back.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from engine.backends.images import images_at_once
from engine.backends.protocol import Training
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.vocabulary import Preprocessing
from models.augment import augment

EVALUATED_IMAGES = 1_000
GRIDS_SHARE = 0.1  # of the learning rate, for the learned step sizes of simulated quantization
WEIGHT_DECAY = 1e-4  # of weights; learned step sizes have none
LARGEST_GRADIENT = 5.0  # the norm that all gradients together are clipped to

Masks = dict[str, np.ndarray]


class Learner(Protocol):
    """A network in training, held by its framework. Arrays are float32 unless said otherwise, weights and
    masks in the order that techniques use (output channel first).
    """

    def step(self, inputs: np.ndarray, labels: np.ndarray, wanted: np.ndarray | None, rate: float) -> None:
        """Makes one step: forward, loss, backward, update by AdamW, masks.

        inputs: [n, …] preprocessed. labels: int64 [n]. wanted: the teacher's logits [n, classes], or None.
        rate: the learning rate of this step.
        """

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """Returns what the network in training answers now [n, classes], as in deployment (no dropout)."""

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the weights as they are now, by layer name; not to be written to."""

    def hold(self, masks: Masks) -> None:
        """Sets weights to zero where a mask is False, now and after every step from now on."""

    def checkpoint(self) -> Any:
        """Returns a copy of all that is learned."""

    def put_back(self, checkpoint: Any) -> None:
        """Takes a checkpoint's values again."""


class Teacher:
    """A network's answers for the training images as they are, each asked for once.

    Attributes:
        answer: Returns logits [n, classes] for uint8 images [n, h, w, c].
        images: The training images.
        known: The answers so far [images, classes], NaN where not asked for yet; written to, so that a
            technique's trainings can share it.
    """

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray], images: np.ndarray, known: np.ndarray):
        self.answer, self.images, self.known = answer, images, known

    def __call__(self, chosen: np.ndarray) -> np.ndarray:
        """Returns the logits for the images at these places, in this order."""
        rows = np.array(self.known[chosen])
        missing = np.isnan(rows[:, 0])
        if missing.any():
            rows[missing] = self.answer(np.asarray(self.images[chosen[missing]]))
            self.known[chosen[missing]] = rows[missing]
        return rows


def fit(
    learner: Learner,
    train_part: Part,
    validation: Part,
    training: Training,
    preprocessing: Preprocessing,
    progress: Callable[[float], None],
) -> tuple[float, float]:
    """Trains, leaves the best checkpoint in the learner and returns the accuracy before and after (0.0 for
    both without evaluations, and the last weights stay).
    """
    if training.masks is not None:
        learner.hold(training.masks)
    evaluated = training.evaluations > 0
    before = best = accuracy(learner, validation, preprocessing) if evaluated else 0.0
    kept = learner.checkpoint() if evaluated and not training.settle else None
    batches = _batches(train_part, training, preprocessing)
    check_at = {
        max(1, round(training.steps * (i + 1) / training.evaluations)) for i in range(training.evaluations)
    }
    for step in range(training.steps):
        if training.on_step and (masks := training.on_step(step, learner.weights())):
            learner.hold(masks)
        inputs, labels, chosen = next(batches)
        wanted = None if training.teacher is None else training.teacher(chosen)
        learner.step(inputs, labels, wanted, training.learning_rate * rate(step, training.steps))
        if step + 1 in check_at:
            progress((step + 1) / training.steps)
            now = accuracy(learner, validation, preprocessing)
            if step + 1 >= training.settle and (kept is None or now >= best):
                kept = None  # before the new one, or a large network would be here three times
                best, kept = now, learner.checkpoint()
    if kept is not None:
        learner.put_back(kept)
    return before, best


def rate(step: int, steps: int) -> float:
    """Returns the share of the learning rate that a step has: a short warm-up, then a cosine to zero."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def accuracy(learner: Learner, part: Part, preprocessing: Preprocessing) -> float:
    """Returns the accuracy on (the first 1,000 images of) a part."""
    images, labels = part.images[:EVALUATED_IMAGES], part.labels[:EVALUATED_IMAGES]
    spec, right = preprocessing.model_dump(), 0
    size = images_at_once(preprocessing.height, preprocessing.width)
    for start in range(0, len(labels), size):
        scores = learner.scores(preprocess(images[start : start + size], spec))
        right += int((scores.argmax(1) == labels[start : start + size]).sum())
    return right / len(labels)


def _batches(part: Part, training: Training, preprocessing: Preprocessing) -> Iterator[tuple]:
    """Yields (inputs, labels, places in the part) for ever, shuffled anew every epoch, augmented."""
    spec, count, order = preprocessing.model_dump(), len(part.labels), np.random.default_rng(training.seed)
    while True:
        shuffled = order.permutation(count)
        for start in range(0, count - training.batch + 1, training.batch):
            chosen = np.sort(shuffled[start : start + training.batch])
            images = augment(np.asarray(part.images[chosen]), order, preprocessing.color != "grey")
            yield preprocess(images, spec), part.labels[chosen].astype(np.int64), chosen
