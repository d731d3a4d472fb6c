"""Networks that take a picture as a row of numbers or without a channel axis: a reshape is put in front."""

import math
from collections.abc import Iterator

import torch
from torch import nn


class AsRow(nn.Module):
    """Gives the network each picture as one row: a channel after the other."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(torch.flatten(x, 1))


class AsRowOfPixels(AsRow):
    """Gives the network each picture as one row: a pixel after the other, its channels together."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(torch.flatten(x.permute(0, 2, 3, 1), 1))


class AsMatrix(AsRow):
    """Gives the network each grey picture without its channel axis."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(torch.squeeze(x, 1))


# by the name that stands as the architecture: the module in front, and what to say
FRONTS: dict[str, tuple[type[AsRow], str]] = {
    "as_row": (AsRow, "as one row of numbers, a channel after the other"),
    "as_row_of_pixels": (AsRowOfPixels, "as one row of numbers, a pixel after the other"),
    "as_matrix": (AsMatrix, "without a channel axis"),
}


def note(front: str) -> str:
    """Returns what is said of a reshape in front."""
    return f"The network takes each picture {FRONTS[front][1]}; a reshape was put in front of it."


def sides_of(inputs: int) -> list[tuple[int, int]]:
    """Returns the channels and sides of square pictures that have so many numbers."""
    found = []
    for channels in (1, 3):
        side = math.isqrt(inputs // channels)
        if side > 1 and channels * side * side == inputs:
            found.append((channels, side))
    return found


def fronts(network: nn.Module, inputs: int | None, sides: list[int]) -> Iterator[tuple[str, int, int]]:
    """Yields the fronts that make a network run: name, channels, side. `inputs`: those of its first dense
    layer, `sides` the sides that a matrix may have.
    """
    tries = [
        (front, channels, side)
        for channels, side in (sides_of(inputs) if inputs else ())
        for front in (("as_row", "as_row_of_pixels") if channels == 3 else ("as_row",))
    ]
    for front, channels, side in [*tries, *(("as_matrix", 1, side) for side in sides)]:
        try:
            with torch.inference_mode():
                scores = FRONTS[front][0](network)(torch.zeros(2, channels, side, side))
        except Exception:  # of another shape, whatever the network says to it
            continue
        if isinstance(scores, torch.Tensor) and scores.ndim == 2 and len(scores) == 2:
            yield front, channels, side
