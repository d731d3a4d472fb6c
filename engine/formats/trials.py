"""One way to open and feed a model, tried on labelled pictures; and which of several trials is believed."""

import math
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.device.preprocessing import preprocess
from engine.errors import BadInput
from engine.formats.opening import Opening
from engine.formats.patience import Patience
from engine.vocabulary import Preprocessing

PIXELS_AT_ONCE = 64 * 64 * 64
DOUBT = 0.05  # below this p-value a less usual candidate is believed
DOUBT_OF_ORDER = 0.01  # and below this one a permutation, which was fitted to the same pictures
NO_HURRY = Patience()


@dataclass(frozen=True)
class Trial:
    """What a network named, fed in one way.

    Attributes:
        given: int [n], the class that it named for each picture; -1 where a score is not finite.
        labels: int [n], the class that each is of.
        looked_at: How many pictures were read for it; broken ones have no answer.
        rank: How usual this way is among the candidates: 0 is the commonest.
    """

    opening: Opening
    name: str
    spec: Preprocessing
    given: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    looked_at: int = 0
    rank: int = 0

    @property
    def count(self) -> int:
        """How many pictures it answered."""
        return len(self.given)

    @cached_property
    def right(self) -> np.ndarray:
        """bool [n], which of the pictures it named rightly."""
        return self.given == self.labels

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """For each output the class that it answers most often, where these are all different."""
        return _order(self.given, self.labels, self.opening.classes)

    @cached_property
    def right_reordered(self) -> np.ndarray:
        """bool [n], which would be right if the outputs meant `order`."""
        meant = np.array([*(self.order or range(self.opening.classes)), -1])  # the last: no answer
        return meant[self.given] == self.labels

    @property
    def accuracy(self) -> float:
        """The share named rightly with the classes in the data set's order."""
        return float(self.right.mean()) if self.count else 0.0

    @property
    def reordered(self) -> float:
        """The share named rightly if the outputs meant `order`."""
        return float(self.right_reordered.mean()) if self.count else 0.0

    @cached_property
    def permuted(self) -> bool:
        """Whether its answers point to another order of the classes, beyond chance."""
        return self.order is not None and surely_more(self.right_reordered, self.right, DOUBT_OF_ORDER)

    def first(self, count: int) -> "Trial":
        """Returns the trial of its first `count` answers."""
        return replace(self, given=self.given[:count], labels=self.labels[:count], looked_at=0)

    def on(self, pictures: TrialPictures, count: int, patience: Patience = NO_HURRY) -> "Trial":
        """Returns the trial on the first `count` pictures, on fewer where the time is over; what was tried
        before is kept. The first few are tried in any case.

        Raises BadInput when none of the pictures can be read.
        """
        opening, spec = self.opening, self.spec
        answers, labels, done = [self.given], [self.labels], self.looked_at
        shape = (opening.height, opening.width, opening.channels)
        # small steps, so that the time is looked at often enough
        step = int(np.clip(PIXELS_AT_ONCE / (opening.height * opening.width), 4, 64))
        while done < count and not (done and patience.over()):
            stop = min(done + step, count)
            fitted, wanted = pictures.fitted(done, stop, shape, (spec.fit, spec.upright))
            if len(fitted):
                scores = opening.predict(preprocess(fitted, spec.model_dump()))
                answers.append(np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1))
                labels.append(wanted)
            done = stop
        if len(answers) == 1 and not self.count:
            raise BadInput("No picture of the validation part can be read: check the data set's pictures.")
        return replace(self, given=np.concatenate(answers), labels=np.concatenate(labels), looked_at=done)


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


def surely_more(one: np.ndarray, other: np.ndarray, doubt: float = DOUBT) -> bool:
    """Tells by McNemar's mid-p test, one-sided, whether `one` (bool [n]) names more pictures rightly than
    chance would explain; by the shares where they are of different pictures.

    Fagerland, Lydersen and Laake, 2013 (BMC Medical Research Methodology 13:91): the exact test hardly ever
    tells anything of the few pictures on which two ways differ.
    """
    if len(one) != len(other):
        return bool(one.mean() > other.mean())
    won, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return won > lost and _mid_p(won, won + lost) < doubt


@cache
def _mid_p(won: int, differ: int) -> float:
    """Returns the chance that a fair coin thrown `differ` times wins more often than `won` times, and half of
    that to win as often.
    """
    more = sum(math.comb(differ, k) for k in range(won + 1, differ + 1))
    return (2 * more + math.comb(differ, won)) / 2 ** (differ + 1)
