"""The forms that the time of a network may take, and how much each counts.

On a few dozen networks no one form can be told from its neighbours: whichever is picked for having erred
least owes that in part to chance. So a few are fitted, with and without what the group's relatives know;
the coefficients are their weighted mean, one linear model again. Weights fall with the error on networks that
the fit did not see (pseudo-BMA: Yao et al. 2018, arXiv 1704.02030), half of it on whole families, half on
networks whose relatives it may have seen: users bring both. The plain roofline, fitted to the group alone,
starts with odds of ODDS to one: whatever is more than that must have shown that it errs less. Where there are
families enough to tell its terms apart it keeps a SHARE whatever is shown, as an insurance.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from estimator import features
from estimator.fitting.group import Group

PLAIN = (
    "overhead",
    "layers",
    "dense_macs",
    "window_macs",
    "depthwise_macs",
    "grouped_macs",
    "activations",
    "parameters",
)
# Terms between the plain ones: see `features.combine`.
MIXED = (*PLAIN, "mixed")
BRIDGED = (*MIXED, "small", "mixed_windows")
# Overhead per inference and per layer are hard to tell apart on few networks, so either may be left out.
DROPPED = ((), ("overhead",), ("layers",), ("overhead", "layers"))
STRENGTHS = (0.03, 0.3)  # of the pool: see `fit_group`


def _forms(*wholes: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(t for t in whole if t not in dropped) for whole in wholes for dropped in DROPPED)


Candidate = tuple[tuple[str, ...], float]  # a form, and how strongly its pool draws it: 0 is not at all
ROOFLINE: Candidate = (PLAIN, 0.0)
CANDIDATES: tuple[Candidate, ...] = (
    *product(_forms(MIXED, BRIDGED), STRENGTHS),
    *product(_forms(PLAIN, MIXED), (0.0,)),
)
HELD_OUT = ("family", "fold")
ODDS = 20.0
SHARE = 0.25
LARGEST = 0.6  # log; an error counts no further, so that one wild network does not choose the form
SHARP = 0.2  # log; a form whose error is larger by this over the number of families counts e times less


class Recipe(NamedTuple):
    """What is tried, what is left out to see how it errs, the odds that the plain roofline starts with in
    groups that have more networks than it has terms, and the share that it keeps with so many families.
    """

    candidates: tuple[Candidate, ...] = CANDIDATES
    held_out: tuple[str, ...] = HELD_OUT
    odds: float = ODDS
    share: float = SHARE


RECIPE = Recipe()


def columns(form: Sequence[str]) -> list[int]:
    """Where a form's terms stand among all features."""
    return [features.NAMES.index(name) for name in form]


def terms_of(runtime: str, form: tuple[str, ...]) -> tuple[str, ...]:
    """The form as a runtime's groups use it: only the Edge TPU spills."""
    return (*form, "spilled") if runtime == "edgetpu" else form


def weights(
    groups: Sequence[Group],
    tried: Sequence[dict[str, np.ndarray]],
    by: str = "family",
    without: str = "",
    recipe: Recipe = RECIPE,
) -> np.ndarray:
    """How much each candidate counts in each of the groups of one kind, [groups, candidates]; a group's sum
    to 1.

    `tried` holds for each group, by what was held out, [candidates, rows] predictions by fits without the
    row's family or fold. Rows whose label `by` is `without` have no say. Beside all of the kind's families a
    group's own evidence counts once more: more than its families, because their networks differ, and less
    than its networks, because those of a family are alike.
    """
    losses, evidence = np.full((len(groups), len(recipe.candidates)), np.nan), np.zeros((len(groups), 1))
    head_start, insured = np.zeros(losses.shape), np.zeros(losses.shape)
    families: set[str] = set()
    for i, (group, predicted) in enumerate(zip(groups, tried, strict=True)):
        kept = group.labels(by) != without
        if kept.any():
            errors = [
                np.minimum(np.abs(np.log(predicted[how][:, kept] / group.latency_ms[kept])), LARGEST)
                for how in recipe.held_out
            ]
            losses[i] = np.average(np.mean(errors, axis=0), axis=1, weights=group.weights[kept] ** 2)
            own, networks = set(group.family[kept].tolist()), len(set(group.network[kept].tolist()))
            families |= own
            evidence[i] = np.cbrt(len(own) ** 2 * networks)
            if ROOFLINE in recipe.candidates:
                place = recipe.candidates.index(ROOFLINE)
                head_start[i, place] = SHARP * np.log(recipe.odds) * (networks > len(PLAIN))
                insured[i, place] = recipe.share * (len(own) > len(PLAIN))
    total = evidence * np.nan_to_num(losses) + len(families) * np.nanmean(losses, axis=0)
    total -= head_start
    weight = np.exp(-(total - total.min(axis=1, keepdims=True)) / SHARP)
    weight /= weight.sum(axis=1, keepdims=True)
    found: np.ndarray = weight * (1 - insured.sum(axis=1, keepdims=True)) + insured
    return found
