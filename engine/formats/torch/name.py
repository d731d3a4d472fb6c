"""The name of a network that bare weights belong to: `torchvision/resnet18,stride=2,pool=no`.

Behind the network's own name stands what the weights leave open and somebody settled: pictures, or the user.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.errors import BadInput

OPTIONS = {
    "stride": re.compile(r"[12]"),  # of the first convolution
    "pool": re.compile(r"yes|no"),  # the max pooling behind it
    "head": re.compile(r"[a-z_]{2,12}"),  # the activation between the head's layers
}


@dataclass(frozen=True)
class Candidate:
    """A network that weights fit: its name for `build`, the image's side (pixels) it was made for, channels,
    classes.
    """

    architecture: str
    size: int
    channels: int
    classes: int


@dataclass(frozen=True)
class Name:
    """A network's own name and its options."""

    network: str
    options: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> "Name":
        """Reads what `text` wrote. Raises BadInput for an option that there is not."""
        network, *parts = re.split(r",(?=[a-z]+=)", text)
        options = {}
        for part in parts:
            key, _, value = part.partition("=")
            if key not in OPTIONS or not OPTIONS[key].fullmatch(value):
                raise BadInput(
                    f"An architecture has no option '{part[:40]}': behind its name may stand stride=1 or"
                    " stride=2, pool=yes or pool=no, and head=relu or another activation."
                )
            options[key] = value
        return Name(network, options)

    def text(self) -> str:
        """Returns the name as one word."""
        return ",".join([self.network, *(f"{key}={value}" for key, value in self.options.items())])

    def with_options(self, **options: str) -> "Name":
        """Returns the same network with more options; an empty one is left out."""
        merged = {**self.options, **options}
        return Name(self.network, {key: value for key, value in merged.items() if value})
