"""How many images go through a network together."""

import numpy as np

from engine.memory import LEAST_AT_ONCE

PIXELS_AT_ONCE = 256 * 32 * 32  # images times height times width that go through a network together
MOST_AT_ONCE = 256
TRAINED_SHARE = 0.5  # of them in a training step, which keeps every layer's outputs


def images_at_once(height: int, width: int, share: float = 1.0) -> int:
    """Returns how many images of this size go through a network together, so that memory does not grow with
    their size.

    share: of the usual number, for passes that keep more in memory (gradients). 8 at least, 256 at most.
    """
    return int(np.clip(share * PIXELS_AT_ONCE / (height * width), LEAST_AT_ONCE, MOST_AT_ONCE))
