"""Which of several ways to wire or feed a network shows its normalisation layers what they learnt?

Batch normalisation keeps the means and deviations of what it saw in training. A wrong stride, pooling,
shortcut, activation or scaling shows behind the first layer that it changes; labels are not needed, and it is
seen where another network happens to name more of a few pictures.
"""

from collections.abc import Sequence

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.device.preprocessing import preprocess
from engine.formats.opening import Opening
from engine.formats.patience import Patience
from engine.vocabulary import Preprocessing

LOOKED_AT = 32  # pictures
Way = tuple[Opening, str, Preprocessing]
# In deviations and factors of e: what the best may be off, and from where on another is a stranger beside it.
# Short training leaves 0.1 in the right network's first layers, and a pooling left out makes 0.5 of it
CLOSE, TIMES, MORE = 0.3, 2.0, 0.15


def strangeness(opening: Opening, spec: Preprocessing, pictures: TrialPictures) -> list[float]:
    """Returns how far the input of each normalisation layer is from what it learnt, in the order in which
    they run; none where the format does not tell.
    """
    told = opening.facts.get("strangeness")
    if told is None:
        return []
    shape = (opening.height, opening.width, opening.channels)
    images = pictures.fitted(0, LOOKED_AT, shape, (spec.fit, spec.upright))[0]
    return [value if np.isfinite(value) else np.inf for value in told(preprocess(images, spec.model_dump()))]


def familiar_of(ways: Sequence[Way], pictures: TrialPictures, patience: Patience) -> list[Way]:
    """Returns the ways, of one set of weights, that show its normalisation layers what they learnt, as far as
    another does; all of them where the file does not tell, or there is no time to look at all.
    """
    seen: list[list[float]] = []
    for opening, _, spec in ways if len(ways) > 1 else ():
        if patience.over():
            return list(ways)
        seen.append(strangeness(opening, spec, pictures))
        if not seen[0]:
            return list(ways)
    return (
        [way for way, is_known in zip(ways, familiar(seen), strict=True) if is_known] if seen else list(ways)
    )


def familiar(rows: Sequence[Sequence[float]]) -> list[bool]:
    """Tells of each network, by the strangeness of its layers, whether it sees what it learnt, as far as
    another does.

    Layer by layer from the first: one that is far off where the best of the rest is close is out. What
    follows is not asked once the best is off as well, nor anything where the layers are not the same.
    """
    still = [True] * len(rows)
    if not rows or len({len(row) for row in rows}) > 1:
        return still
    for layer in zip(*rows, strict=True):
        closest = min(value for value, is_in in zip(layer, still, strict=True) if is_in)
        if closest > CLOSE:
            break
        most = TIMES * closest + MORE
        still = [is_in and value <= most for value, is_in in zip(layer, still, strict=True)]
    return still
