"""Which of many ways to open and feed a model is best, told on few pictures: all are tried on the first ones,
those that are not shown worse on more.

What it finds hangs on the pictures alone; the time is a guard for networks that are large.
"""

from collections.abc import Iterable

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.formats.learnt import Way
from engine.formats.patience import Patience
from engine.formats.trials import Trial, best, surely_more

FIRST = 8  # pictures that every way is tried on; then twice as many, and so on
# the p-value at which a way falls out: the question is asked often, so more strictly than at the end
WORSE = 0.01
ENOUGH = 400  # pictures that tell the accuracy of the last one left, or that those left answer alike
# answers that a round behind the first may ask for, and pictures in all: of small pictures more
ROUND_PX, LEAST_ROUND = 800_000, 400


class Race:
    """Trials of the same pictures, of which those that are shown worse fall out.

    Attributes:
        running, out: Those still in it, all on `count` pictures, and those that fell out, on fewer.
        complete: Whether there was the time to try all that entered.
    """

    def __init__(self, pictures: TrialPictures, patience: Patience):
        self.running: list[Trial] = []
        self.out: list[Trial] = []
        self.count = 0
        self.complete = True
        self._pictures, self._patience = pictures, patience
        self._entered, self._most = 0, len(pictures.labels)

    @property
    def believed(self) -> Trial:
        """The trial that is believed of those still running."""
        return best(self.running)

    @property
    def tried(self) -> list[Trial]:
        """All trials, each on as many pictures as it was tried on."""
        return [*self.running, *self.out]

    def enter(self, ways: Iterable[Way]) -> None:
        """Adds ways, the commonest first; each is tried on as many pictures as those before it, unless it is
        shown worse on fewer.
        """
        new = [Trial(*way, rank=self._entered + place) for place, way in enumerate(ways)]
        self._entered += len(new)
        for trial in new:
            shape = (trial.opening.height, trial.opening.width, trial.opening.channels)
            self._most = min(self._most, self._pictures.most(shape))
        if not self.running:
            self.running = self._level(self._on(new, min(FIRST, self._most)))
            self.count = self.running[0].looked_at
            return
        count, top = min(FIRST, self.count), self.believed
        while new and count <= self.count:
            new = self._level(self._on(new, count), top)
            count = min(2 * count, self.count) if count < self.count else count + 1
        self.running = self._level([*self.running, *new])

    def run(self, most: int | None = None) -> None:
        """Goes on until one is shown best or the pictures are used, of which `most` may be set.

        Where a round may not ask all that are left, it asks the best of them.
        """
        most = most or self._most
        while self.complete and not (self.count >= ENOUGH and self._all_the_same()):
            largest = max(trial.opening.height * trial.opening.width for trial in self.running)
            answers = max(LEAST_ROUND, ROUND_PX // largest)
            count = min(2 * self.count, most, self._most, answers)
            if count <= self.count:
                return
            keep = max(2, answers // (count - self.count))
            tried = self._on(self._best(keep), count)
            if len(tried) < min(keep, len(self.running)):
                return  # what the time broke off does not weaken what fewer pictures told
            kept = {trial.rank for trial in tried}
            self.out += [trial for trial in self.running if trial.rank not in kept]
            self.running, self.count = self._level(tried), count

    def _best(self, keep: int) -> list[Trial]:
        """Returns the best `keep` of those running, the one that is believed among them."""
        believed = self.believed
        ordered = sorted(self.running, key=lambda t: (t is not believed, -_score_of(t), t.rank))
        return sorted(ordered[:keep], key=lambda trial: trial.rank)

    def _on(self, trials: list[Trial], count: int) -> list[Trial]:
        """Returns the trials on `count` pictures; those that the time does not allow are left out, but for
        the very first.
        """
        tried: list[Trial] = []
        for trial in trials:
            very_first = not self.running and not tried
            if self._patience.over() and not very_first:
                self.complete = False
                break
            made = trial.on(self._pictures, count, self._patience)
            if made.looked_at < count:
                self.complete = False
                if not very_first:
                    break
            tried.append(made)
        return tried

    def _level(self, trials: list[Trial], top: Trial | None = None) -> list[Trial]:
        """Returns the trials that are not shown worse than the best of them, or than `top` on as many
        pictures; the others are out.
        """
        if not trials:
            return []
        top = top.first(trials[0].count) if top else max(trials, key=_score_of)
        most = top.right_reordered if top.permuted else top.right
        worse = [
            surely_more(most, t.right, WORSE) and surely_more(most, t.right_reordered, WORSE) for t in trials
        ]
        self.out += [trial for trial, is_worse in zip(trials, worse, strict=True) if is_worse]
        return [trial for trial, is_worse in zip(trials, worse, strict=True) if not is_worse]

    def _all_the_same(self) -> bool:
        return all(np.array_equal(self.running[0].given, trial.given) for trial in self.running[1:])


def _score_of(trial: Trial) -> float:
    return trial.reordered if trial.permuted else trial.accuracy
