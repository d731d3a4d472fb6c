"""The forms that the time of a network may take, and how much each counts.

On a few dozen networks no one form can be told from its neighbours: whichever is picked for having erred
least on
held-out families owes that in part to chance, and its error there says too little. So every form is fitted
with every
strength of the pool, and some without it; the coefficients are their weighted mean, one linear model again.
Weights
fall with the error on held-out families, of all groups of a kind and once more of the group's own, and are
taken anew
without a family before they are tried on it (pseudo-BMA: Yao et al. 2018, arXiv 1704.02030).
"""

from collections.abc import Sequence
from itertools import product

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
MIXED = (*PLAIN, "mixed")
# Terms between the plain ones: see `features.combine`. Overhead per inference and per layer are hard to tell
# apart on few
# networks, so either may be left out.
BRIDGES = (("mixed",), ("mixed", "small"), ("mixed", "small", "mixed_windows"))
LONE = ((), ("small",), ("mixed",), ("mixed", "small"))  # fewer terms, for fits without relatives
DROPPED = ((), ("overhead",), ("layers",), ("overhead", "layers"))
STRENGTHS = (0.003, 0.03, 0.3)


def _forms(bridges: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(term for term in (*PLAIN, *bridge) if term not in dropped)
        for bridge, dropped in product(bridges, DROPPED)
    )


FORMS = _forms(BRIDGES)
# A strength of 0 is a fit without relatives.
CANDIDATES = (*product(FORMS, STRENGTHS), *product(_forms(LONE), (0.0,)))
LARGEST = 0.6  # log; an error counts no further, so that one wild network does not choose the form
SHARP = 0.2  # log; a form whose error is larger by this over the number of families counts e times less


def columns(form: Sequence[str]) -> list[int]:
    """Where a form's terms stand among all features."""
    return [features.NAMES.index(name) for name in form]


def terms_of(runtime: str, form: tuple[str, ...]) -> tuple[str, ...]:
    """The form as a runtime's groups use it: only the Edge TPU spills."""
    return (*form, "spilled") if runtime == "edgetpu" else form


def weights(groups: Sequence[Group], tried: Sequence[np.ndarray], without: str = "") -> np.ndarray:
    """How much each candidate counts in each of the groups of one kind, [groups, candidates]; a group's sum
    to 1.

    `tried` holds for each group [candidates, rows] predictions, each row's by a fit without its family. Rows
    of the
    family `without` have no say. Beside all of the kind's families a group's own evidence counts once more:
    more than its
    families, because their networks differ, and less than its networks, because those of a family are alike.
    """
    losses, evidence = np.full((len(groups), len(tried[0])), np.nan), np.zeros((len(groups), 1))
    families = [set(group.family.tolist()) - {without} for group in groups]
    for i, (group, predicted) in enumerate(zip(groups, tried, strict=True)):
        kept = group.family != without
        if kept.any():
            error = np.minimum(np.abs(np.log(predicted[:, kept] / group.latency_ms[kept])), LARGEST)
            losses[i] = np.average(error, axis=1, weights=group.weights[kept] ** 2)
            evidence[i] = np.cbrt(len(families[i]) ** 2 * len(set(group.network[kept].tolist())))
    total = evidence * np.nan_to_num(losses) + len(set().union(*families)) * np.nanmean(losses, axis=0)
    weight = np.exp(-(total - total.min(axis=1, keepdims=True)) / SHARP)
    found: np.ndarray = weight / weight.sum(axis=1, keepdims=True)
    return found
