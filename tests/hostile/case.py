"""What a hostile case is: one bad file, and the harmless file of the same format that goes the same way."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`make()` gives the bad file's bytes; `twin` names its harmless twin in goods.GOODS; `says`, what must
    be named.
    """

    id: str
    twin: str
    make: Callable[[], bytes]
    says: str = ""
