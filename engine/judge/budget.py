"""Whether a file or a variant keeps a budget, for a check that a machine makes before something is merged."""

from engine.errors import BadInput
from engine.judge.figures import figure
from engine.judge.limits import ROUNDING, limit_of
from engine.vocabulary import Constraints, Variant


def held_against(
    variant: Variant, constraints: Constraints, device: str, cautious: bool = False
) -> tuple[list[str], list[str]]:
    """Returns the limits that are kept and those that are broken, each as "size 0.97 MB, at most 0.5 MB".

    cautious: predictions count with the upper end of their interval. Raises BadInput where there is no limit,
    or a figure that one asks for is not known.
    """
    limits = constraints.set_limits()
    if not limits:
        raise BadInput("There is no limit to check: give one, such as --max-size-mb 2.")
    kept: list[str] = []
    broken: list[str] = []
    for name, most in limits.items():
        limit = limit_of(name, constraints)
        value = limit.value(variant, device, cautious)
        if value is None:
            raise BadInput(
                f"The {limit.label}{limit.where} of {variant.id} is not known, so its limit can't be checked:"
                + (
                    " accuracy is measured by a run, so check that run's id."
                    if limit.at_worst
                    else " measure it first, with `robustness` and the run's id."
                    if name == "max_robust_drop_pp"
                    else " choose another device or runtime."
                )
            )
        words = f"{limit.short} {limit.with_unit(figure(value))}"
        side = "at least" if limit.is_least else "at most"
        sentence = f"{words}, {side} {limit.with_unit(f'{most:g}')}"
        (broken if limit.miss(value, most) > ROUNDING else kept).append(sentence)
    return kept, broken
