"""Which of the ways to open a file is the user's network, and how does it want its pictures?

Labelled pictures decide, and, where weights leave the wiring open, what their normalisation layers learnt.
"""

import time
from dataclasses import replace

from engine.datasets.trial import TrialPictures
from engine.formats.detect import Found, assume, detect
from engine.formats.doubt import believable
from engine.formats.learnt import familiar_of
from engine.formats.narrow import narrowed
from engine.formats.opening import Opening
from engine.formats.patience import Patience
from engine.vocabulary import Preprocessing

LEAST_SECONDS = 2.0  # for trying; with less left nothing is tried


def choose(
    openings: list[Opening], pictures: TrialPictures | None, dataset: str | None, patience: Patience
) -> tuple[Found, bool]:
    """Returns what is believed, and whether all that the file may be could be tried within the time."""
    usable = [opening for opening in openings if opening.facts.get("reach") != "inspect"]
    late = time.monotonic() + LEAST_SECONDS > patience.wall
    if pictures is None or not usable or late:
        found = assume((usable or openings)[0], dataset)
        why = (
            [
                "This machine was too busy to try the preprocessing out on images within the time: the usual"
                " one is assumed; open the file again later, and it will be tried."
            ]
            if late and pictures is not None and usable
            else []
        )
        return replace(found, warnings=[*(why or found.warnings), *_open_choices(openings)]), not late
    found, complete = _tried(usable, pictures, str(dataset), patience)
    if others := familiar_networks(found.opening, found.preprocessing, usable, pictures, patience):
        other, complete = _tried(others, pictures, str(dataset), patience)
        if believable(other, pictures):
            said = (
                f"Of {other.opening.architecture} the normalisation layers see the means and deviations that"
                f" they learnt, of {found.opening.architecture} ({found.accuracy:.1%}) they do not."
            )
            found = replace(other, evidence=[said, *other.evidence])
    return found, complete


def _tried(
    openings: list[Opening], pictures: TrialPictures, dataset: str, patience: Patience
) -> tuple[Found, bool]:
    few = narrowed(openings, pictures, dataset, patience)
    found = detect(few.openings, pictures, dataset, patience)
    return replace(found, evidence=[*found.evidence, *few.evidence]), few.complete


def familiar_networks(
    believed: Opening,
    spec: Preprocessing,
    openings: list[Opening],
    pictures: TrialPictures,
    patience: Patience,
) -> list[Opening]:
    """Returns the other networks that the same weights fit whose normalisation layers see what they learnt,
    where those of the one believed do not; none where they do.
    """
    same_size = {
        other.architecture: other
        for other in [*believed.variations(), *openings]
        if other.facts.get("guess")
        and other.architecture != believed.architecture
        and (other.height, other.width, other.classes) == (believed.height, believed.width, believed.classes)
    }
    networks = [believed, *same_size.values()]
    known = [network for network, _, _ in familiar_of([(n, "", spec) for n in networks], pictures, patience)]
    return [] if believed in known else known


def _open_choices(openings: list[Opening]) -> list[str]:
    """Says what bare weights leave open when there are no images to settle it."""
    first = openings[0].architecture or ""
    others = [opening.architecture for opening in openings[1:]]
    if not first.startswith("chain:") and not any(others):
        return []  # the file holds the network; several openings are several outputs of it
    rest = (
        f", {', '.join(map(str, others[:3]))} {'and more ' if len(others) > 3 else ''}fit as well"
        if others
        else ""
    )
    return [
        f"Bare weights don't tell activation, pooling and image size: {first} is assumed{rest}; choose the"
        " data set, and they will be tried on its images, or name the architecture."
    ]
