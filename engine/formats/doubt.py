"""Is a guessed network the user's? What a file leaves open was filled in by trying; here it is judged.

A network is believed that names at least half-way from chance to all rightly, or, of a known trunk, whose
normalisation layers see the very means and deviations that they learnt. One that does neither is probably
another network.
"""

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.formats.detect import Found
from engine.formats.learnt import strangeness
from engine.formats.patience import Patience

LEAST_LAYERS = 2  # that can tell
SURE = 0.5  # of the way from chance to all
STRANGE = 0.7  # from here on normalisation sees other numbers than it learnt


def way_out(found: Found, pictures: TrialPictures, patience: Patience, complete: bool = True) -> str:
    """Returns what is wrong and what to do, or "" where the network may be the user's. `complete`: whether
    there was the time to try all that it may be.

    Only openings are judged whose facts have a "guess": what was assumed, as part of a sentence.
    """
    guess, opening = found.opening.facts.get("guess", ""), found.opening
    if not guess or found.accuracy is None:
        return ""
    if believable(found, pictures):
        return ""
    of_known_trunk = not (opening.architecture or "").startswith("chain:")
    if of_known_trunk and not patience.over():
        seen = strangeness(opening, found.preprocessing, pictures)
        if len(seen) >= LEAST_LAYERS and np.median(seen) < STRANGE:
            return ""
    if not complete:
        return (
            f"The file does not tell {guess}, and this machine was too busy to try all that it may be within"
            f" the time; the best of the rest ({opening.architecture}) names {found.accuracy:.1%} of the"
            " validation images rightly. Open the file again later, or name the network: --architecture NAME"
            " (on the page: Architecture)."
        )
    sizes = f"{opening.channels}, {opening.height}, {opening.width}"
    return (
        f"The file does not tell {guess}, and the best guess ({opening.architecture}) names only"
        f" {found.accuracy:.1%} of the validation images rightly, so it is probably not your network: export"
        f" the whole one with `torch.onnx.export(model.eval(), torch.rand(1, {sizes}), 'model.onnx',"
        " external_data=False)` and take model.onnx; or, where it is your network, name it:"
        f" --architecture '{opening.architecture}' (on the page: Architecture)."
    )


def believable(found: Found, pictures: TrialPictures) -> bool:
    """Tells whether at least half-way from chance to all is named rightly."""
    chance = 1 / len(pictures.classes)
    return (found.accuracy or 0.0) >= chance + SURE * (1 - chance)
