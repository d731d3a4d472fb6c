"""How does this model want its images? Found by trying: the right scaling is the one that gets the labels
right.

Pure NumPy over `Opening.predict`, whatever framework is behind it. Also names a class order that looks
permuted.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.errors import BadInput
from engine.formats import evidence
from engine.formats.opening import Opening
from engine.formats.scalings import candidates
from engine.formats.trials import Trial, best, try_one, unbeaten
from engine.vocabulary import Preprocessing

SAMPLED = 200  # pictures whose mean and deviation become a candidate
FIRST = 64  # pictures of the first round, in which every way is tried
# pictures of each later round, and how many of the best go on to it: more, where those are not shown worse
ROUNDS = ((300, 12), (1_000, 4), (5_000, 2))
SECONDS = 12.0
SCALINGS_FITTED = 3  # of the best scalings, each with every fit
Way = tuple[Opening, str, Preprocessing]


@dataclass(frozen=True)
class Found:
    """What the trials say: the opening, its preprocessing, evidence and warnings as sentences; and the
    classes in the order that the outputs seem to mean, where that is another one.
    """

    opening: Opening
    preprocessing: Preprocessing
    accuracy: float | None
    evidence: list[str]
    warnings: list[str]
    class_order: list[str] = field(default_factory=list)


def detect(
    openings: Iterable[Opening],
    pictures: TrialPictures,
    dataset: str,
    until: float | None = None,
) -> Found:
    """Tries every opening with every scaling and colour order on labelled images; returns the best.

    Each opening gets the pictures in its own size, as a run would make them. `until` is when to be done, in
    seconds of `time.monotonic`; the commonest scaling is tried on a few images in any case. Of candidates
    between which the images can't tell (McNemar's mid-p test), the commoner one stands. Raises BadInput when
    no opening tells as many classes apart as the data set has.
    """
    until = min(until or math.inf, time.monotonic() + SECONDS)
    fitting, count = _first_count(_of_classes(openings, pictures.classes), dataset, pictures, until)
    ways = [
        (opening, name, spec)
        for opening in fitting
        for name, spec in candidates(opening, dataset, _sample(pictures, opening))
    ]
    first = _ranked(_until(until, ways, pictures, count))
    believed = best(first)
    varied = _until(_half(until), _variations(believed), pictures, first[0].count)
    first = _ranked(first + [trial for trial in varied if trial.count == first[0].count])
    others = _until(_half(until), _other_fits(first, best(first), pictures), pictures, first[0].count)
    first = _ranked(first + [trial for trial in others if trial.count == first[0].count])
    trials, tried = first, {_key(trial): trial for trial in first}
    believed = best(trials)
    for count, keep in ROUNDS:
        count = min(count, len(pictures.labels))
        if count <= trials[0].count:
            break
        going_on = _going_on(trials, believed, keep, count, until)
        if not going_on:
            break
        ways = [(trial.opening, trial.name, trial.spec) for trial in going_on]
        found = _until(until, ways, pictures, count)
        if found[0].count <= trials[0].count:
            break  # the time broke the round off before it could tell more
        ranks = {_key(trial): trial.rank for trial in going_on}
        trials = [replace(trial, rank=ranks[_key(trial)]) for trial in found]
        tried |= {_key(trial): trial for trial in trials}
        believed = best(trials)
    return Found(
        believed.opening,
        believed.spec,
        believed.accuracy,
        evidence.sentences(believed, list(tried.values()), first, pictures),
        evidence.warnings(believed, pictures.classes),
        evidence.class_order(believed, pictures.classes),
    )


def _of_classes(openings: Iterable[Opening], classes: list[str]) -> list[Opening]:
    openings = list(openings)
    fitting = [opening for opening in openings if opening.classes == len(classes)]
    if not fitting:
        found = ", ".join(map(str, sorted({opening.classes for opening in openings})))
        raise BadInput(
            f"The model tells {found} classes apart and the data set has {len(classes)}: choose the data set "
            "that it was trained on."
        )
    return fitting


def _key(trial: Trial) -> tuple[int, str, str]:
    return id(trial.opening), trial.name, trial.spec.model_dump_json()


def _ranked(trials: list[Trial]) -> list[Trial]:
    return [replace(trial, rank=rank) for rank, trial in enumerate(trials)]


def _variations(trial: Trial) -> list[Way]:
    """Returns what the best opening leaves open, such as its activations or the size of its images."""
    return [
        (
            opening,
            trial.name,
            trial.spec.model_copy(update={"height": opening.height, "width": opening.width}),
        )
        for opening in trial.opening.variations()
    ]


def _other_fits(trials: list[Trial], believed: Trial, pictures: TrialPictures) -> list[Way]:
    """Returns the best scalings of the best opening with every other way to fit the pictures."""
    opening = believed.opening
    ways = pictures.ways((opening.height, opening.width, opening.channels))[1:]
    ordered = sorted((t for t in trials if t.opening is opening), key=lambda t: _order_of(t, believed))
    return [
        (opening, trial.name, trial.spec.model_copy(update={"fit": fit, "upright": upright}))
        for trial in ordered[:SCALINGS_FITTED]
        for fit, upright in ways
    ]


def _order_of(trial: Trial, believed: Trial) -> tuple[bool, float, int]:
    score = trial.reordered if trial.permuted else trial.accuracy
    return trial is not believed, -score, trial.rank


def _sample(pictures: TrialPictures, opening: Opening) -> np.ndarray:
    return pictures.fitted(0, SAMPLED, (opening.height, opening.width, opening.channels))[0]


def _going_on(trials: list[Trial], believed: Trial, keep: int, count: int, until: float) -> list[Trial]:
    """Returns the trials worth `count` pictures: the `keep` best, and all that are not shown worse than the
    best, as far as the time allows; none where it does not allow for the `keep` best.

    A tie is broken by what is usual, so those that are level are told apart on as many pictures.
    """
    ordered = sorted(trials, key=lambda trial: _order_of(trial, believed))
    level = set(map(id, unbeaten(trials, believed)))
    wanted = ordered[:keep] + [trial for trial in ordered[keep:] if id(trial) in level]
    seconds_each = believed.seconds / max(believed.count, 1) * count
    possible = int((until - time.monotonic()) / max(seconds_each, 1e-9))
    return wanted[:possible] if possible >= min(keep, len(wanted)) else []


def _until(until: float, ways: list[Way], pictures: TrialPictures, count: int) -> list[Trial]:
    """Tries one way after the other until the time is over; the first is always tried, if on fewer images.

    A later way that the time breaks off is left out: only equal numbers of images can be compared.
    """
    trials: list[Trial] = []
    for way in ways:
        if not trials or time.monotonic() < until:
            trial = try_one(*way, pictures, count, until)
            if not trials or trial.count == trials[0].count:
                trials.append(trial)
    return trials


def _half(until: float) -> float:
    """Returns the time up to which half of what is left may be used."""
    return time.monotonic() + max(0.0, until - time.monotonic()) / 2


def _first_count(
    openings: list[Opening], dataset: str, pictures: TrialPictures, until: float
) -> tuple[list[Opening], int]:
    """Returns the openings that can be tried, and how many images the first round may try so that it takes
    half of the time.

    Each is run once to find out, which also opens it; where that alone takes the half, the rest of them is
    left out.
    """
    half, seconds = time.monotonic() + (until - time.monotonic()) / 2, []
    sample = min(4, len(pictures.labels))
    for opening in openings:
        if seconds and time.monotonic() > half:
            break
        shape = (opening.height, opening.width, opening.channels)
        tries = candidates(opening, dataset, pictures.fitted(0, sample, shape)[0])
        try_one(opening, *tries[0], pictures, 1)
        seconds.append(try_one(opening, *tries[0], pictures, sample).seconds / max(sample, 1) * len(tries))
    left = max(until - time.monotonic(), 0) / 2
    return openings[: len(seconds)], int(
        np.clip(left / max(sum(seconds), 1e-9), 8, min(FIRST, len(pictures.labels)))
    )


def assume(opening: Opening, dataset: str | None = None) -> Found:
    """Returns the commonest preprocessing for want of labelled images, with a warning that it is assumed."""
    name, spec = candidates(opening, dataset or "", None)[0]
    if opening.fixed:
        return Found(opening, spec, None, [], [])
    why = (
        "The model could not be tried on the data set's images, so"
        if dataset
        else "No data set was given, so"
    )
    todo = (
        "what it gives on the test images tells whether that is right."
        if dataset
        else "choose the data set that the model was trained on, and it will be checked on its images."
    )
    return Found(opening, spec, None, [], [f"{why} the scaling {name} is assumed: {todo}"])
