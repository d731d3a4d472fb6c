"""One way to open a model file, ready to be tried on pictures; what every format's `openings` gives."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.vocabulary import Preprocessing


@dataclass(frozen=True)
class Opening:
    """One way to open a file, ready to be tried.

    Attributes:
        architecture: What to call it, for bare weights; None where the file holds the network.
        height, width, channels: Of its images. `layout` is that of `predict`'s input.
        classes: How many scores it gives.
        predict: float32 images, preprocessed, to scores float32 [n, classes].
        variations: The same with other activations and the like; tried when the best opening is known.
        sizes: The same at other image sizes that it can run at; tried then as well.
        fixed: Its preprocessing where the file tells (a quantized input's scale), so that nothing is tried.
    """

    architecture: str | None
    height: int
    width: int
    channels: int
    classes: int
    predict: Callable[[np.ndarray], np.ndarray]
    layout: str = "NCHW"
    variations: Callable[[], Iterable["Opening"]] = tuple
    sizes: Callable[[], Iterable["Opening"]] = tuple
    fixed: Preprocessing | None = None
    scaled_inside: bool = False
    facts: dict = field(default_factory=dict)
