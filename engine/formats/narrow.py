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
LEAST, PICTURES = 24, 64
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

    Of each network the first size is looked at; the others stay with it. Openings of one network alone are
    returned as they are. `until`: when all trying must be done, in seconds of `time.monotonic`.
    """
    fitting = [opening for opening in openings if opening.classes == len(pictures.classes)]
    firsts = list({opening.architecture: opening for opening in reversed(fitting)}.values())[::-1]
    if len(firsts) < 2:
        return Few(list(openings), [])
    now = time.monotonic()
    halfway, end = now + (until - now) * SHARE / 2, now + (until - now) * SHARE
    count = _count(firsts, pictures, dataset, halfway - now)
    looked = _looked_at(firsts, pictures, dataset, count, halfway)
    best_first = sorted(looked, key=lambda trial: -trial.accuracy)
    varied = [
        other
        for trial in best_first[:VARIED]
        for other in (trial.opening.variations() if time.monotonic() < end else ())
        if _another(other, trial.opening, looked)
    ]
    seen = _looked_at(varied, pictures, dataset, looked[0].count, end) if varied else []
    looked += [trial for trial in seen if trial.count == looked[0].count]
    top = max(looked, key=lambda trial: trial.accuracy)
    level = [trial for trial in looked if trial is top or not surely_more(top.right, trial.right)]
    chosen = {trial.opening.architecture for trial in sorted(level, key=lambda trial: -trial.accuracy)[:KEPT]}
    kept = [opening for opening in [*fitting, *varied] if opening.architecture in chosen]
    return Few(kept, [_sentence(looked, top)], len(looked) == len(firsts) + len(varied))


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
    most = 0  # pictures of the first trial: broken ones are not counted
    for turn in range(len(SCALINGS)):
        for opening in openings:
            if turn >= len(ways[id(opening)]) or (best and time.monotonic() > until):
                continue
            trial = try_one(opening, *ways[id(opening)][turn], pictures, count, until)
            before, most = best.get(id(opening)), most or trial.count
            if trial.count == most and (before is None or trial.accuracy > before.accuracy):
                best[id(opening)] = trial
    return [best[id(opening)] for opening in openings if id(opening) in best]


def _count(openings: Sequence[Opening], pictures: TrialPictures, dataset: str, seconds: float) -> int:
    """Returns how many pictures the time allows with one scaling of each opening; the first is timed, which
    is as costly as any.
    """
    for _ in range(2):  # the first time opens it
        trial = try_one(openings[0], *_ways(openings[0], pictures, dataset)[0], pictures, 4)
    each = trial.seconds / max(trial.count, 1) * len(openings)
    return int(np.clip(seconds / max(each, 1e-9), LEAST, PICTURES))


def _sentence(looked: Sequence[Trial], top: Trial) -> str:
    networks: dict[str, float] = {}
    for trial in sorted(looked, key=lambda trial: -trial.accuracy):
        networks.setdefault(trial.opening.architecture or "as the file has it", trial.accuracy)
    shown = ", ".join(f"{name} {share:.1%}" for name, share in list(networks.items())[:4])
    return (
        f"The file leaves the network open; {len(networks)} that it fits were looked at on {top.count}"
        f" images: {shown}."
    )
