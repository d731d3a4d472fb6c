"""An image size that the user sets is the only one tried; one that the network can't take is refused."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import BadInput
from engine.formats.opening import Opening
from engine.formats.sized import at_input_size
from pages.parts.facts import image_size


def opening(height: int, width: int, layout: str = "NCHW") -> Opening:
    """A network whose sides must be even."""

    def predict(x: np.ndarray) -> np.ndarray:
        shape = x.shape[2:] if layout == "NCHW" else x.shape[1:3]
        if any(side % 2 for side in shape):
            raise ValueError("odd")
        return np.zeros((len(x), 4), np.float32)

    def variations() -> list[Opening]:
        return [Opening("other", height, width, 3, 4, predict, layout=layout)]

    made = Opening("net", height, width, 3, 4, predict, layout=layout, variations=variations)
    return replace(made, sizes=lambda: [replace(made, height=64, width=64)])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_size_that_was_set_is_the_only_one_tried(layout):
    (sized,) = at_input_size([opening(28, 28, layout)], 48, 96)
    assert (sized.height, sized.width) == (48, 96)
    assert [(v.architecture, v.height, v.width) for v in sized.variations()] == [("other", 48, 96)]
    assert not [*sized.sizes()]


def test_a_size_that_no_network_takes_is_refused_with_one_that_it_does():
    with pytest.raises(BadInput, match=r"31x33 pixels.*such as 28 28"):
        at_input_size([opening(28, 28)], 31, 33)


@pytest.mark.parametrize(
    "text, size", [("", None), (" 96 ", (96, 96)), ("96 128", (96, 128)), ("96x128", (96, 128))]
)
def test_what_is_typed_is_read(text, size):
    assert image_size(text) == size


@pytest.mark.parametrize("text", ["large", "-3", "96 128 3", "9999999"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(BadInput, match="height and width"):
        image_size(text)
