"""Many networks may fit the same bare weights: a first look with few scalings and pictures leaves the few
that are worth every scaling.

What each leaves open besides (activations, shortcuts, how the last pictures are pooled) is looked at for the
best of them, so that the right network is not lost because its likeliest form is not its own.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.formats.opening import Opening
from engine.formats.scalings import candidates
from engine.formats.trials import Trial, surely_more, try_one
from engine.vocabulary import Preprocessing

SHARE = 0.45  # of the time that is left
PICTURES = 64
KEPT = 4  # networks that every scaling is tried on
VARIED = 10  # networks whose variations are looked at
SCALINGS = ("0..1", "the data set's usual mean and deviation", "the data set's mean and deviation", "0..255")


@dataclass(frozen=True)
class Few:
    """The openings that are worth every scaling, what was seen, as sentences, and whether there was the time
    to look at all.
    """

    openings: list[Opening]
    evidence: list[str]
    complete: bool = True


def narrowed(openings: Sequence[Opening], pictures: TrialPictures, dataset: str, until: float) -> Few:
    """Returns the few openings of as many classes as the pictures have that name most of them rightly.

    Openings of one network alone are returned as they are. `until`: when all trying must be done, in seconds
    of `time.monotonic`.
    """
    openings = [opening for opening in openings if opening.classes == len(pictures.classes)] or list(openings)
    if len({opening.architecture for opening in openings}) < 2 or openings[0].classes != len(
        pictures.classes
    ):
        return Few(list(openings), [])
    now = time.monotonic()
    halfway, end = now + (until - now) * SHARE / 2, now + (until - now) * SHARE
    count = _count(openings, pictures, dataset, halfway - now)
    looked = _looked_at(openings, pictures, dataset, count, halfway)
    best_first = sorted(looked, key=lambda trial: -trial.accuracy)
    varied = [
        other
        for trial in best_first[:VARIED]
        for other in (trial.opening.variations() if time.monotonic() < halfway else ())
        if _another(other, trial.opening, looked)
    ]
    seen = _looked_at(varied, pictures, dataset, looked[0].count, end) if varied else []
    looked += [trial for trial in seen if trial.count == looked[0].count]
    top = max(looked, key=lambda trial: trial.accuracy)
    level = [trial for trial in looked if trial is top or not surely_more(top.right, trial.right)]
    chosen = {id(trial.opening) for trial in sorted(level, key=lambda trial: -trial.accuracy)[:KEPT]}
    complete = len(looked) == len(openings) + len(varied)
    return Few([t.opening for t in looked if id(t.opening) in chosen], [_sentence(looked, top)], complete)


def _another(opening: Opening, of: Opening, looked: Sequence[Trial]) -> bool:
    """Tells whether a variation is of a network that was not looked at; other sizes are tried later."""
    return (opening.height, opening.width) == (of.height, of.width) and all(
        opening.architecture != trial.opening.architecture for trial in looked
    )


def _ways(opening: Opening, pictures: TrialPictures, dataset: str) -> list[tuple[str, Preprocessing]]:
    shape = (opening.height, opening.width, opening.channels)
    every = candidates(opening, dataset, pictures.fitted(0, PICTURES, shape)[0])
    return [way for way in every if way[0] in SCALINGS] or every[:1]


def _looked_at(
    openings: Sequence[Opening], pictures: TrialPictures, dataset: str, count: int, until: float
) -> list[Trial]:
    """Returns the best trial of each opening; those that the time leaves out are left out.

    One scaling after the other, so that what the time breaks off is the less usual of them.
    """
    best: dict[int, Trial] = {}
    ways = {id(opening): _ways(opening, pictures, dataset) for opening in openings}
    for turn in range(len(SCALINGS)):
        for opening in openings:
            if turn >= len(ways[id(opening)]) or (best and time.monotonic() > until):
                continue
            trial = try_one(opening, *ways[id(opening)][turn], pictures, count, until)
            before = best.get(id(opening))
            if trial.count == count and (before is None or trial.accuracy > before.accuracy):
                best[id(opening)] = trial
            elif not best:  # not even one within the time
                return [trial]
    return [best[id(opening)] for opening in openings if id(opening) in best]


def _count(openings: Sequence[Opening], pictures: TrialPictures, dataset: str, seconds: float) -> int:
    """Returns how many pictures of each opening the time allows: those that cost most are tried out."""
    costly = max(openings, key=lambda opening: opening.height * opening.width)
    sample = min(4, len(pictures.labels))
    for _ in range(2):  # the first opens it
        trial = try_one(costly, *_ways(costly, pictures, dataset)[0], pictures, sample)
    each = trial.seconds / max(trial.count, 1) * len(openings) * len(SCALINGS) / 2
    return int(np.clip(seconds / max(each, 1e-9), 12, min(PICTURES, len(pictures.labels))))


def _sentence(looked: Sequence[Trial], top: Trial) -> str:
    networks: dict[str, float] = {}
    for trial in sorted(looked, key=lambda trial: -trial.accuracy):
        networks.setdefault(trial.opening.architecture or "as the file has it", trial.accuracy)
    shown = ", ".join(f"{name} {share:.1%}" for name, share in list(networks.items())[:4])
    return (
        f"The file leaves the network open; {len(networks)} that it fits were looked at on {top.count}"
        f" images: {shown}."
    )
