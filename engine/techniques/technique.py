"""What a technique says of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.backends.protocol import Facts
from engine.techniques.workbench import Workbench


@dataclass(frozen=True)
class Technique:
    """A way to make a model smaller or faster.

    Attributes:
        title, text: Name and one sentence for people.
        precision: What its artifact computes in, for the capability check of a device.
        trains: Whether it fine-tunes and so needs labelled images.
        weight: Its share of the time budget relative to the others; 0 for what needs no training.
        needs: Shared results that must be there first; `sensitivity` is the only one.
        after: Techniques whose networks it takes, in a run that has them.
        variants: The ids it will make, in order: `id`, or `id@setting`.
        spare: Further ids, each made only where the others don't do; where it isn't, nothing is said of it.
        why_not: The reason why it can't be applied to a network, or "".
        run: Makes the variants one by one, each finished through the workbench.
        calibrates: Whether calibration images set something in its files.
        searches: Whether it chooses among networks by their accuracy on the validation part.
        settings: What a setting means, for people: "70 % of the channels gone".
    """

    id: str
    title: str
    text: str
    precision: Literal["float32", "float16", "int8", "int4"]
    trains: bool
    weight: float
    needs: tuple[str, ...]
    variants: tuple[str, ...]
    why_not: Callable[[Facts], str]
    run: Callable[[Workbench], None]
    spare: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    calibrates: bool = False
    searches: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
