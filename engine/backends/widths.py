"""What holds for removing channels in every framework."""

from engine.errors import EdgewiseError

UNITS = (16, 8, 4)
EIGHTH = 8  # a layer is wide enough for a unit of which it holds so many
WIDE = 32  # in a network with a layer this wide, narrower ones keep to multiples of four too …
NARROW = 8  # … from this width on


class Unprunable(EdgewiseError):
    """Channels of this network can't be removed; the message says why."""


def unit(channels: int, multiple: int, widest: int) -> int:
    """Returns what the channels that stay of a layer are counted in: the largest of 16, 8 and 4 that is at
    most the device's `multiple` and an eighth of the layer; else 4 in a network that is `widest` or wider
    elsewhere; else 1, because rounding would take too much of a narrow layer, or nothing.
    """
    for size in UNITS:
        if size <= multiple and channels >= EIGHTH * size:
            return size
    return UNITS[-1] if widest >= WIDE and channels >= NARROW else 1


def kept(channels: int, ratio: float, multiple: int, widest: int) -> int:
    """Returns how many channels of a layer stay where the share `ratio` is to go: the nearest multiple of its
    unit, one at least; the exact number where that would be all of them, since a small share would be rounded
    away stage after stage.
    """
    exact, size = max(1, round(channels * (1 - ratio))), unit(channels, multiple, widest)
    rounded = max(size, size * round(exact / size))
    return rounded if rounded < channels and exact < channels else min(exact, channels)
