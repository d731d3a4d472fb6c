"""The image size that a user sets, where the file leaves it open."""

from dataclasses import replace

import numpy as np

from engine.errors import BadInput
from engine.formats.opening import Opening


def at_input_size(openings: list[Opening], height: int, width: int) -> list[Opening]:
    """Returns the openings that run at this image size, at it alone. Raises BadInput when none does."""
    found = [sized for opening in openings if (sized := _sized(opening, height, width)) is not None]
    if not found:
        own = ", ".join(dict.fromkeys(f"{opening.height} {opening.width}" for opening in openings))
        raise BadInput(
            f"The network can't be run on images of {height}x{width} pixels (height x width): leave the input"
            f" size out, or give one that it takes, such as {own}."
        )
    return found


def with_own_size(openings: list[Opening], height: int, width: int) -> list[Opening]:
    """Returns the openings, before them those at the pictures' own size whose file leaves the size open."""
    own = [
        sized
        for opening in openings
        if opening.facts.get("open_size") and (sized := _sized(opening, height, width)) is not None
    ]
    return [*{one.architecture: one for one in reversed(own)}.values()][::-1] + openings


def _sized(opening: Opening, height: int, width: int) -> Opening | None:
    def variations() -> list[Opening]:
        return [sized for v in opening.variations() if (sized := _sized(v, height, width)) is not None]

    facts = opening.facts | {"open_size": False}
    if (opening.height, opening.width) == (height, width):
        return replace(opening, variations=variations, sizes=tuple, facts=facts)
    if opening.fixed is not None or opening.facts.get("reach") == "inspect":
        return None
    shape = (1, opening.channels, height, width)
    if opening.layout == "NHWC":
        shape = (1, height, width, opening.channels)
    try:
        scores = opening.predict(np.zeros(shape, np.float32))
    except Exception:  # a network may object to a size in any way
        return None
    if scores.shape != (1, opening.classes):
        return None
    return replace(opening, height=height, width=width, variations=variations, sizes=tuple, facts=facts)
