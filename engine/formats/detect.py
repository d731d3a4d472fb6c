"""How does this model want its images? Found by trying: the right scaling is the one that gets the labels
right.

Pure NumPy over `Opening.predict`, whatever framework is behind it. Also names a class order that looks
permuted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.errors import BadInput
from engine.formats import evidence
from engine.formats.learnt import Way, familiar_of
from engine.formats.opening import Opening
from engine.formats.patience import Patience
from engine.formats.race import Race
from engine.formats.scalings import candidates
from engine.formats.trials import NO_HURRY, Trial, surely_more
from engine.vocabulary import Preprocessing

SAMPLED = 200  # pictures whose mean and deviation become a candidate
SOME = 64  # pictures that tell which opening's variations are tried
SECONDS = 12.0  # of the processor, a guard
SCALINGS_FITTED = 3  # of the best scalings, each with every fit


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
    patience: Patience = NO_HURRY,
) -> Found:
    """Tries every opening with every scaling and colour order on labelled images; returns the best.

    Each opening gets the pictures in its own size, as a run would make them. `patience` is a guard against
    networks that are slow; the commonest scaling is tried on a few images in any case. Of candidates between
    which the images can't tell (McNemar's mid-p test), the commoner one stands. Raises BadInput when no
    opening tells as many classes apart as the data set has.
    """
    fitting = _of_classes(openings, pictures.classes)
    race = Race(pictures, patience.within(SECONDS))
    race.enter(
        (opening, name, spec)
        for opening in fitting
        for name, spec in candidates(opening, dataset, _sample(pictures, opening))
    )
    race.run(SOME)
    race.enter(_variations(race))
    race.enter(_other_fits(race, pictures))
    race.run()
    believed = _familiar(race, pictures, patience)
    return Found(
        believed.opening,
        believed.spec,
        believed.accuracy,
        evidence.sentences(believed, race.tried, pictures),
        evidence.warnings(believed, race.running, pictures.classes),
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


def _variations(race: Race) -> list[Way]:
    """Returns what the best opening leaves open, such as its activations, with its best scalings, and the
    size of its images, with the best one.
    """
    opening, scalings = race.believed.opening, _best_scalings(race)
    others = [(other, trial) for other in opening.variations() for trial in scalings]
    others += [(other, race.believed) for other in opening.sizes()]
    return [
        (other, trial.name, trial.spec.model_copy(update={"height": other.height, "width": other.width}))
        for other, trial in others
    ]


def _other_fits(race: Race, pictures: TrialPictures) -> list[Way]:
    """Returns the best scalings of the best opening with every other way to fit the pictures."""
    opening = race.believed.opening
    ways = pictures.ways((opening.height, opening.width, opening.channels))[1:]
    return [
        (opening, trial.name, trial.spec.model_copy(update={"fit": fit, "upright": upright}))
        for trial in _best_scalings(race)
        for fit, upright in ways
    ]


def _familiar(race: Race, pictures: TrialPictures, patience: Patience) -> Trial:
    """Returns the trial that is believed; where its labels leave several scalings level, the commonest of
    those that show its normalisation layers what they learnt.
    """
    believed = race.believed
    level = [
        trial
        for trial in race.running
        if trial.opening is believed.opening
        and trial.permuted == believed.permuted
        and not surely_more(_score(believed), _score(trial))
    ]
    ways = [(trial.opening, trial.name, trial.spec) for trial in level]
    known = [spec for _, _, spec in familiar_of(ways, pictures, patience)]
    of_them = [trial for trial in level if trial.spec in known]
    return believed if believed in of_them else min(of_them, key=lambda trial: trial.rank)


def _score(trial: Trial) -> np.ndarray:
    return trial.right_reordered if trial.permuted else trial.right


def _best_scalings(race: Race) -> list[Trial]:
    believed = race.believed
    of_it = [trial for trial in race.running if trial.opening is believed.opening]
    return sorted(of_it, key=lambda trial: _order_of(trial, believed))[:SCALINGS_FITTED]


def _order_of(trial: Trial, believed: Trial) -> tuple[bool, float, int]:
    score = trial.reordered if trial.permuted else trial.accuracy
    return trial is not believed, -score, trial.rank


def _sample(pictures: TrialPictures, opening: Opening) -> np.ndarray:
    return pictures.fitted(0, SAMPLED, (opening.height, opening.width, opening.channels))[0]


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
    what = f"the scaling {name} is assumed"
    if opening.facts.get("open_size"):
        what = f"the scaling {name} and images of {opening.width}x{opening.height} pixels are assumed"
    todo = (
        "what it gives on the test images tells whether that is right."
        if dataset
        else "choose the data set that the model was trained on, and it will be checked on its images."
    )
    return Found(opening, spec, None, [], [f"{why} {what}: {todo}"])
