"""How sure it is that a limit on accuracy is kept: test images are a sample, and a limit is a promise."""

import math

from engine.judge.limits import ROUNDING, Limit, kept, limit_of
from engine.vocabulary import Constraints, Kept, Variant


def is_sure(variant: Variant, constraints: Constraints) -> bool:
    """Tells whether every limit on accuracy that a variant keeps is kept for sure."""
    return "measured" not in kept(variant, constraints).values()


def sentences(variant: Variant, constraints: Constraints) -> list[str]:
    """Returns, for each limit on accuracy that a variant keeps, how sure that is."""
    limits = constraints.set_limits()
    return [
        _sentence(variant, limit_of(name, constraints), limits[name], how)
        for name, how in kept(variant, constraints).items()
    ]


def _sentence(variant: Variant, limit: Limit, most: float, how: Kept) -> str:
    what = f"Your limit on {limit.label}{limit.where} is kept"
    worst = limit.at_worst(variant) if limit.at_worst else None
    if worst is None:
        return f"{what} as measured; how sure that is was not recorded."
    end = limit.with_unit(f"{worst:.2f}")
    side = "at least" if limit.is_least else "at most"
    if how == "sure":
        return f"{what} for sure: with 95 % confidence it is {side} {end}."
    needed = images_needed(variant, limit, most)
    more = f"; about {needed:,} would make it sure" if needed else ""
    return f"{what} as measured: {variant.test_images or 0:,} test images only show {side} {end}{more}."


def images_needed(variant: Variant, limit: Limit, most: float) -> int | None:
    """Returns how many test images would make a limit that is kept as measured a sure one, if the figure
    stays: an interval shrinks with the square root of their number. None where the figure is at the limit
    itself.
    """
    value = limit.value(variant, "", False)
    worst = limit.at_worst(variant) if limit.at_worst else None
    if value is None or worst is None or not variant.test_images:
        return None
    room, reach = -limit.miss(value, most), abs(worst - value)
    if room <= ROUNDING:
        return None
    needed = variant.test_images * (reach / room) ** 2
    unit: int = 10 ** max(0, math.floor(math.log10(needed)) - 1)  # two digits: the figure will move
    return math.ceil(needed / unit) * unit
