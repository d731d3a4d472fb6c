"""What the measured rows can give at most: `python -m benchmarks.estimator_limits` (EDGEWISE_MEASUREMENTS:
all rows).

Two checks that look at families which nothing has seen. *Kept aside*: each quarter of the families in turn,
for five
ways to cut them into quarters, is taken from everything, forms and intervals included; the rest is fitted,
once as
`estimator.fit` does, once as a plain non-negative roofline of the same eight terms without relatives, once
with the one
form that erred least on the rest.
*Learning curve*: how the error of ncnn's groups falls with the number of families, of which they have 14 to
17.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks import record
from estimator import confidence
from estimator.fitting import fit, forms, intervals, rows
from estimator.fitting.group import FAMILIES, NETWORKS, Group, groups_of
from estimator.fitting.roofline import fit_group

COLUMNS = [
    "check",
    "runtime, precision",
    "groups",
    "roofline alone, %",
    "one form picked, %",
    "estimator, %",
    "roofline alone, one in ten beyond, %",
    "estimator, one in ten beyond, %",
    "covered by 90 %, %",
]
SPREAD = (
    "mobilenet_v1",
    "mobilenet_v2",
    "efficientnet",
    "resnet",
)  # LiteRT and ArmNN have these alone: one a split
CURVE = (4, 6, 8, 10, 12, 14)
CUTS, REPEATS = 5, 20
FORM, STRENGTH = (*forms.MIXED, "small"), 0.03


def part(group: Group, keep: np.ndarray) -> Group:
    """The group with some rows only."""
    return replace(
        group,
        x=group.x[keep],
        latency_ms=group.latency_ms[keep],
        family=group.family[keep],
        network=group.network[keep],
        held_out=np.zeros(0),
        random=np.zeros(0),
        most_overhead_ms=0.0,
    )


def without(groups: list[Group], families: set[str]) -> list[Group]:
    """The groups as they are where some families were never measured; those with too little left are
    dropped.
    """
    left = [part(g, ~np.isin(g.family, list(families))) for g in groups]
    return [g for g in left if len(set(g.network)) >= NETWORKS and len(set(g.family)) >= FAMILIES]


def alone(group: Group, x: np.ndarray) -> np.ndarray:
    """The plain roofline: a free non-negative fit of the group's own networks."""
    places = fit.columns(forms.PLAIN)
    own = group.x[group.first][:, places]
    return np.maximum(x[:, places] @ fit_group(own, group.typical_ms, np.ones(len(own)), None, 0.0), 1e-6)


def picked(group: Group, pools: fit.Pools, x: np.ndarray) -> np.ndarray:
    """The one candidate whose error on held-out families of the group is least."""

    def loss(candidate: tuple[tuple[str, ...], float]) -> float:
        error = np.abs(np.log(fit.leave_out(group, pools, *candidate, group.family) / group.latency_ms))
        return float(np.minimum(error, 1).mean() + np.median(error))

    runtime = group.name.split("|")[1]
    form, strength = min(((forms.terms_of(runtime, f), s) for f, s in forms.CANDIDATES), key=loss)
    places = fit.columns(form)
    shape = pools.shape(group.pool, form) if strength else None
    own = group.x[group.first][:, places]
    return np.maximum(
        x[:, places] @ fit_group(own, group.typical_ms, np.ones(len(own)), shape, strength), 1e-6
    )


def quarters(others: list[str]) -> Iterator[set[str]]:
    """Each quarter of the families, one of SPREAD in each, for every way they are cut."""
    random = np.random.default_rng(0)
    for _ in range(CUTS):
        shuffled = random.permutation(others).tolist()
        for number, one in enumerate(random.permutation(SPREAD).tolist()):
            yield {one, *shuffled[number :: len(SPREAD)]}


def kept_aside(groups: list[Group]) -> list[list]:
    """Median and 90th percentile of errors on the rows of families that were taken out, a mean over the
    groups of a kind.
    """
    found: dict[str, list[tuple[np.ndarray, ...]]] = {}
    for out in quarters(sorted({f for g in fit.ours(groups) for f in g.family.tolist()} - set(SPREAD))):
        left = without(groups, out)
        pools, mine = fit.Pools(left), fit.ours(left)
        for kind in sorted({g.kind for g in mine}):
            fit.fit_kind([g for g in mine if g.kind == kind], pools)
        intervals.calibrate(mine)
        for group in mine:
            whole = next(g for g in groups if g.name == group.name)
            unseen = part(whole, np.isin(whole.family, list(out)))
            if not len(unseen.x):
                continue
            predicted = np.maximum(unseen.x[:, fit.columns(group.terms)] @ group.coefficients, 1e-6)
            half = [group.base * (1 + group.slope * confidence.novelty(x, group.x)) for x in unseen.x]
            covered = np.abs(np.log(predicted / unseen.latency_ms)) <= half
            errors = [
                np.abs(p / unseen.latency_ms - 1)
                for p in (alone(group, unseen.x), picked(group, pools, unseen.x), predicted)
            ]
            found.setdefault(f"{group.kind}#{group.name}", []).append((*errors, covered))
    kinds: dict[str, list[np.ndarray]] = {}
    for key, parts in found.items():
        every = [np.concatenate(values) for values in zip(*parts, strict=True)]
        tails = [np.quantile(every[0], 0.9), np.quantile(every[2], 0.9)]
        kinds.setdefault(key.split("#")[0], []).append(
            np.array([*(np.median(e) for e in every[:3]), *tails, every[3].mean()])
        )
    return [
        ["kept aside", kind, len(values), *(round(float(100 * v), 1) for v in np.mean(values, axis=0))]
        for kind, values in sorted(kinds.items())
    ]


def learning_curve(groups: list[Group]) -> list[list]:
    """Median errors on unseen families after training on some, by how many they were."""
    random = np.random.default_rng(0)
    mine = [g for g in fit.ours(groups) if g.name.split("|")[1] == "ncnn" and "|int8|" not in g.name]
    families = np.array(sorted({f for g in mine for f in g.family.tolist()}))
    found = []
    for count in CURVE:
        errors: dict[str, list[float]] = {g.name: [] for g in mine}
        for _ in range(REPEATS):
            out = set(random.permutation(families)[count:].tolist())
            left = without(groups, out)
            pools = fit.Pools(left)
            for group in [g for g in left if g.name in errors]:
                whole = next(g for g in mine if g.name == group.name)
                unseen = np.isin(whole.family, list(out))
                places = fit.columns(FORM)
                own = group.x[group.first][:, places]
                fitted = fit_group(
                    own, group.typical_ms, np.ones(len(own)), pools.shape(group.pool, FORM), STRENGTH
                )
                errors[group.name].extend(
                    np.abs(whole.x[unseen][:, places] @ fitted / whole.latency_ms[unseen] - 1)
                )
        values = [np.median(e) for e in errors.values() if e]
        found.append(
            [
                f"learning curve, {count} families",
                "ncnn, float",
                len(values),
                "",
                "",
                round(float(100 * np.mean(values)), 1),
                "",
                "",
                "",
            ]
        )
    return found


def main() -> None:
    """Writes benchmarks/results/estimator_limits.*."""
    data = rows.read(rows.folder())
    groups = groups_of(data)
    aside, curve = kept_aside(groups), learning_curve(groups)
    worse = [row[1] for row in aside if row[5] > row[3]]
    wilder = [row[1] for row in aside if row[7] > row[6]]
    record.write(
        "estimator_limits",
        "Estimator: families that nothing has seen",
        COLUMNS,
        aside + curve,
        [
            {
                "target": (
                    f"on families kept aside, no runtime and precision worse than a roofline alone: {what}"
                ),
                "figure": (
                    f"{len(aside) - len(found)} of {len(aside)}"
                    + (f"; not {'; '.join(found)}" if found else "")
                ),
                "met": not found,
            }
            for what, found in (("median error", worse), ("error that one row in ten exceeds", wilder))
        ],
    )
    for row in aside + curve:
        print(row)


if __name__ == "__main__":
    main()
