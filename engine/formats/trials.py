"""One way to open and feed a model, tried on labelled pictures; and which of several trials is believed."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.device.preprocessing import preprocess
from engine.errors import BadInput
from engine.formats.opening import Opening
from engine.vocabulary import Preprocessing

PIXELS_AT_ONCE = 64 * 64 * 64
DOUBT = 0.05  # below this p-value a less usual candidate is believed
DOUBT_OF_ORDER = 0.01  # and below this one a permutation, which was fitted to the same pictures


@dataclass(frozen=True)
class Trial:
    """What a network named, fed in one way.

    Attributes:
        right: bool [n], which of the pictures it named rightly; `accuracy` is their share.
        order: For each output the class that it answers most often, where these are all different.
        right_reordered: bool [n], which would be right if the outputs meant `order`.
        rank: How usual this way is among the candidates: 0 is the commonest.
    """

    opening: Opening
    name: str
    spec: Preprocessing
    right: np.ndarray
    order: tuple[int, ...] | None
    right_reordered: np.ndarray
    seconds: float
    rank: int = 0

    @property
    def count(self) -> int:
        """How many pictures were tried."""
        return len(self.right)

    @property
    def accuracy(self) -> float:
        """The share named rightly with the classes in the data set's order."""
        return float(self.right.mean())

    @property
    def reordered(self) -> float:
        """The share named rightly if the outputs meant `order`."""
        return float(self.right_reordered.mean())

    @property
    def permuted(self) -> bool:
        """Whether its answers point to another order of the classes, beyond chance."""
        return self.order is not None and surely_more(self.right_reordered, self.right, DOUBT_OF_ORDER)


def try_one(
    opening: Opening,
    name: str,
    spec: Preprocessing,
    pictures: TrialPictures,
    count: int,
    until: float = math.inf,
) -> Trial:
    """Tries one way on the first `count` pictures, on fewer where the time (`time.monotonic`) is over.

    Raises BadInput when none of the pictures can be read.
    """
    began = time.monotonic()
    answers: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    shape = (opening.height, opening.width, opening.channels)
    # small steps, so that the time is looked at often enough
    step = int(np.clip(PIXELS_AT_ONCE / (opening.height * opening.width), 4, 64))
    for i in range(0, count, step):
        if answers and time.monotonic() > until:
            break
        fitted, wanted = pictures.fitted(i, min(i + step, count), shape, (spec.fit, spec.upright))
        if len(fitted):
            scores = opening.predict(preprocess(fitted, spec.model_dump()))
            answers.append(np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1))
            labels.append(wanted)
    if not answers:
        raise BadInput("No picture of the validation part can be read: check the data set's pictures.")
    given, truth = np.concatenate(answers), np.concatenate(labels)
    order = _order(given, truth, opening.classes)
    meant = np.array([*(order or range(opening.classes)), -1])  # the last: no answer
    right_reordered = meant[given] == truth
    return Trial(opening, name, spec, given == truth, order, right_reordered, time.monotonic() - began)


def _order(answers: np.ndarray, labels: np.ndarray, classes: int) -> tuple[int, ...] | None:
    """Returns another order of the classes that the answers point to: each output that moves means its new
    class in more than half of its answers, and no two mean the same. None where there is none.
    """
    if classes > 200:
        return None
    confusion = np.zeros((classes, classes), np.int64)
    valid = answers >= 0
    np.add.at(confusion, (answers[valid], labels[valid]), 1)
    order = confusion.argmax(axis=1)
    moved = order != np.arange(classes)
    clear = 2 * confusion.max(axis=1) > confusion.sum(axis=1)
    if not moved.any() or not clear[moved].all() or len(set(order.tolist())) < classes:
        return None
    return tuple(int(v) for v in order)


def best(trials: list[Trial]) -> Trial:
    """Returns the trial that is believed: the most usual of those that none is surely better than.

    One whose classes are permuted is taken only if it surely beats all as they are.
    """
    if not trials:
        raise BadInput("The model could not be tried within the time: choose a smaller model.")
    usual = sorted(trials, key=lambda trial: trial.rank)
    top = max(usual, key=lambda trial: trial.accuracy)
    # a scaling under which one class is always answered gets half of two classes right and tells nothing
    if permuted := [trial for trial in usual if trial.permuted]:
        highest = max(permuted, key=lambda trial: trial.reordered)
        if surely_more(highest.right_reordered, top.right, DOUBT_OF_ORDER):
            level = highest.right_reordered
            return next(t for t in permuted if not surely_more(level, t.right_reordered))
    return next(trial for trial in usual if not surely_more(top.right, trial.right))


def unbeaten(trials: Iterable[Trial], believed: Trial) -> list[Trial]:
    """Returns the trials that `believed` is not surely better than, itself among them."""
    score = believed.right_reordered if believed.permuted else believed.right
    return [t for t in trials if t is believed or not surely_more(score, _score(t, believed))]


def _score(trial: Trial, believed: Trial) -> np.ndarray:
    return trial.right_reordered if believed.permuted and trial.permuted else trial.right


def surely_more(one: np.ndarray, other: np.ndarray, doubt: float = DOUBT) -> bool:
    """Tells by McNemar's mid-p test, one-sided, whether `one` (bool [n]) names more pictures rightly than
    chance would explain; by the shares where they are of different pictures.

    Fagerland, Lydersen and Laake, 2013 (BMC Medical Research Methodology 13:91): the exact test hardly ever
    tells anything of the few pictures on which two ways differ.
    """
    if len(one) != len(other):
        return bool(one.mean() > other.mean())
    from scipy.stats import binom  # half a second, and needed for uploads alone

    won, lost = int((one & ~other).sum()), int((other & ~one).sum())
    differ = won + lost
    return won > lost and binom.sf(won, differ, 0.5) + binom.pmf(won, differ, 0.5) / 2 < doubt
