"""The techniques, one file each, written over the `Backend` protocol: none imports a framework.

`TECHNIQUES` lists them in the order they run in: what is cheap and likely to win comes first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from engine.backends import Facts
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
        variants: The ids it will make, in order.
        why_not: The reason why it can't be applied to a network, or "".
        run: Makes the variants one by one, each finished through the workbench.
    """

    id: str
    title: str
    text: str
    precision: Literal["float32", "float16", "int8", "int4"]
    trains: bool
    weight: float
    needs: tuple[str, ...]
    variants: tuple[str, ...]
    why_not: Callable[["Facts"], str]
    run: Callable[["Workbench"], Iterator[None]]


def _all() -> dict[str, Technique]:
    from engine.techniques import (
        distill,
        dynamic_int8,
        fp16,
        hybrid,
        prune_structured,
        prune_unstructured,
        ptq_int4,
        ptq_int8,
        qat_int8,
    )

    modules = (
        ptq_int8,
        dynamic_int8,
        fp16,
        ptq_int4,
        qat_int8,
        prune_structured,
        prune_unstructured,
        hybrid,
        distill,
    )
    return {module.TECHNIQUE.id: module.TECHNIQUE for module in modules}


TECHNIQUES: dict[str, Technique] = _all()
