"""Many networks may fit the same bare weights: a first look with few scalings and pictures leaves the few
that are worth every scaling.

What each leaves open besides (activations, shortcuts, how the last pictures are pooled) is looked at for the
best of them, so that the right network is not lost because its likeliest form is not its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.datasets.trial import TrialPictures
from engine.formats.learnt import Way, familiar_of
from engine.formats.opening import Opening
from engine.formats.patience import Patience
from engine.formats.race import Race
from engine.formats.scalings import candidates
from engine.formats.trials import Trial

PICTURES = 64
SECONDS = 12.0  # of the processor, a guard
WALL_SHARE = 0.4  # of the time by the clock
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


def narrowed(openings: Sequence[Opening], pictures: TrialPictures, dataset: str, patience: Patience) -> Few:
    """Returns the few openings of as many classes as the pictures have that name most of them rightly.

    Of each network the first size is looked at; the others stay with it. Openings of one network alone are
    returned as they are. `patience`: when all trying must be done.
    """
    fitting = [opening for opening in openings if opening.classes == len(pictures.classes)]
    firsts = list({opening.architecture: opening for opening in reversed(fitting)}.values())[::-1]
    if len(firsts) < 2:
        return Few(list(openings), [])
    share = patience.within(math.inf, WALL_SHARE)
    scalings = _scalings_of(firsts[0], pictures, dataset, share)
    entering = familiar_of(_ways(firsts, scalings, pictures, dataset), pictures, share)
    race = Race(pictures, share.within(SECONDS))
    race.enter(entering)
    race.run(PICTURES)
    varied = [
        other
        for opening in _best_first(race)[:VARIED]
        for other in (opening.variations() if race.complete else ())
        if _another(other, opening, firsts)
    ]
    race.enter(familiar_of(_ways(varied, scalings, pictures, dataset), pictures, share))
    race.run(PICTURES)
    level = [opening.architecture for opening in _best_first(race, race.running)]
    chosen = set(level[:KEPT])
    kept = [opening for opening in [*fitting, *varied] if opening.architecture in chosen]
    return Few(kept, [_sentence(race.tried, race.count)], race.complete)


def _best_first(race: Race, trials: Sequence[Trial] | None = None) -> list[Opening]:
    """Returns the openings, each once, by what they name rightly; those still in the race come first."""
    running = set(map(id, race.running))
    ordered = sorted(trials or race.tried, key=lambda t: (id(t) not in running, -t.accuracy, t.rank))
    return list({id(trial.opening): trial.opening for trial in ordered}.values())


def _another(opening: Opening, of: Opening, looked_at: Sequence[Opening]) -> bool:
    """Tells whether a variation is of a network that was not looked at; other sizes are tried later."""
    return (opening.height, opening.width) == (of.height, of.width) and all(
        opening.architecture != other.architecture for other in looked_at
    )


def _scalings_of(opening: Opening, pictures: TrialPictures, dataset: str, patience: Patience) -> list[str]:
    """Returns the names of the few scalings, without those that a network's first layers did not learn of."""
    shape = (opening.height, opening.width, opening.channels)
    every = candidates(opening, dataset, pictures.fitted(0, PICTURES, shape)[0])
    few = [(opening, *way) for way in every if way[0] in SCALINGS] or [(opening, *every[0])]
    return [name for _, name, _ in familiar_of(few, pictures, patience)]


def _ways(
    openings: Sequence[Opening], scalings: Sequence[str], pictures: TrialPictures, dataset: str
) -> list[Way]:
    """Returns each opening with the few scalings: one scaling after the other, so that what the time breaks
    off is the less usual of them.
    """
    rows = []
    for opening in openings:
        shape = (opening.height, opening.width, opening.channels)
        every = candidates(opening, dataset, pictures.fitted(0, PICTURES, shape)[0])
        rows.append([(opening, *way) for way in every if way[0] in scalings] or [(opening, *every[0])])
    return [row[turn] for turn in range(len(scalings)) for row in rows if turn < len(row)]


def _sentence(tried: Sequence[Trial], count: int) -> str:
    networks: dict[str, float] = {}
    for trial in sorted(tried, key=lambda trial: (-trial.count, -trial.accuracy)):
        networks.setdefault(trial.opening.architecture or "as the file has it", trial.accuracy)
    shown = ", ".join(f"{name} {share:.1%}" for name, share in list(networks.items())[:4])
    return (
        f"The file leaves the network open; {len(networks)} that it fits were looked at on up to {count}"
        f" images: {shown}."
    )
