"""The estimator beside its rivals, group by group: `python -m benchmarks.estimator_rivals`
(EDGEWISE_MEASUREMENTS: all rows; about 20 minutes on one core).

Each family of networks in turn is taken out of everything: groups, pools, forms, weights and intervals. What
is fitted to the rest predicts the family's networks. Rivals on the same rows: the plain non-negative roofline
of a group alone; the same drawn to its pool; a drawn roofline whose log residual a Gaussian process corrects,
with the process's own variance as interval; and the mean of 52 forms, weighed by whole families only, that
this project used before. A network counts once, by its median latency.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

from benchmarks import record
from estimator import confidence
from estimator.fitting import fit, forms, intervals, rows
from estimator.fitting.group import FAMILIES, NETWORKS, Group
from estimator.fitting.roofline import fit_group

RIVALS = ("roofline", "pooled roofline", "roofline + GP", "52 forms", "estimator")
COLUMNS = [
    "device, runtime, precision, threads",
    "networks",
    "families",
    *(f"{name}, %" for name in RIVALS),
    "covered",
    "coverage, %",
    "its 95 % interval, %",
    "width",
    "GP's coverage, %",
]
ENOUGH = 8  # networks from which a group is held to the targets
POOLED = 0.3
STEP, SIGNAL, NOISE, OWN = (
    2.0,
    0.15,
    0.1,
    0.2,
)  # the process: steps of novelty, log; log; log; log, one group's
DROPS = forms.DROPPED
MANY = forms.Recipe(
    (
        *product(
            [
                tuple(t for t in (*forms.PLAIN, *bridge) if t not in drop)
                for bridge, drop in product(
                    (("mixed",), ("mixed", "small"), ("mixed", "small", "mixed_windows")), DROPS
                )
            ],
            (0.003, 0.03, 0.3),
        ),
        *product(
            [
                tuple(t for t in (*forms.PLAIN, *bridge) if t not in drop)
                for bridge, drop in product(((), ("small",), ("mixed",), ("mixed", "small")), DROPS)
            ],
            (0.0,),
        ),
    ),
    ("family",),
    1.0,
    0.0,
)


class Outcome(NamedTuple):
    """Of one network: its family, measured time, each rival's prediction, and the log half-widths of the
    estimator's interval and of the process's.
    """

    family: str
    measured_ms: float
    predicted_ms: tuple[float, ...]
    half: float
    process_half: float


def part(group: Group, keep: np.ndarray) -> Group:
    """The group with some rows only, not fitted."""
    return Group(
        group.name,
        group.x[keep],
        group.latency_ms[keep],
        group.family[keep],
        group.network[keep],
        group.pool,
        group.frozen,
        fold=group.fold[keep],
    )


def without(groups: list[Group], family: str) -> list[Group]:
    """The groups as they are where a family was never measured; those with too little left are dropped."""
    left = [part(g, g.family != family) for g in groups]
    return [g for g in left if len(set(g.network)) >= NETWORKS and len(set(g.family)) >= FAMILIES]


def fitted(groups: list[Group], pools: fit.Pools, recipe: forms.Recipe) -> dict[str, Group]:
    """The groups that can be asked for, fitted by a recipe."""
    mine = [replace(g) for g in fit.ours(groups)]
    for kind in sorted({g.kind for g in mine}):
        fit.fit_kind([g for g in mine if g.kind == kind], pools, recipe)
    return {g.name: g for g in mine}


def line(group: Group, pools: fit.Pools, form: tuple[str, ...], strength: float) -> Callable:
    """One form's prediction, fitted to the group."""
    form = forms.terms_of(group.name.split("|")[1], form)
    places = forms.columns(form)
    shape = pools.shape(group.pool, form) if strength else None
    own = group.x[group.first][:, places]
    found = fit_group(own, group.typical_ms, np.ones(len(own)), shape, strength)
    return lambda x: np.maximum(x[:, places] @ found, 1e-6)


def processes(groups: list[Group], pools: fit.Pools) -> dict[str, Callable]:
    """By pool: log correction and its deviation, of features, from what its groups' drawn rooflines miss."""
    found = {}
    for pool in sorted({g.pool for g in groups}):
        missed: dict[str, list[float]] = {}
        where: dict[str, np.ndarray] = {}
        for group in (g for g in groups if g.pool == pool):
            x = group.x[group.first]
            gaps = np.log(group.typical_ms / line(group, pools, forms.MIXED, forms.STRENGTHS[0])(x))
            for network, gap, one in zip(group.network[group.first], gaps, x, strict=True):
                missed.setdefault(network, []).append(float(np.clip(gap, -forms.LARGEST, forms.LARGEST)))
                where[network] = one
        found[pool] = _process(
            confidence.position(np.stack(list(where.values()))),
            np.array([np.mean(m) for m in missed.values()]),
            np.array([len(m) for m in missed.values()]),
        )
    return found


def _process(places: np.ndarray, missed: np.ndarray, counts: np.ndarray) -> Callable:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
        return SIGNAL**2 * np.exp(-0.5 * (apart / STEP) ** 2)

    inverse = np.linalg.inv(kernel(places, places) + np.diag(NOISE**2 + OWN**2 / counts))

    def correct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        near = kernel(confidence.position(x), places)
        variance = SIGNAL**2 - np.einsum("ij,jk,ik->i", near, inverse, near) + NOISE**2
        return near @ inverse @ missed, np.sqrt(np.maximum(variance, 0))

    return correct


def outcomes(groups: list[Group]) -> dict[str, list[Outcome]]:
    """By group: each of its networks, predicted where its family was taken out of everything."""
    found: dict[str, list[Outcome]] = {}
    for family in sorted({f for g in fit.ours(groups) for f in g.family.tolist()}):
        left = without(groups, family)
        pools = fit.Pools(left)
        ours, many = fitted(left, pools, forms.RECIPE), fitted(left, pools, MANY)
        intervals.calibrate(list(ours.values()))
        correct = processes(left, pools)
        for group in groups:
            unseen = group.first[group.family[group.first] == family]
            if group.name not in ours or not len(unseen):
                continue
            own, x = ours[group.name], group.x[unseen]
            drawn = line(own, pools, forms.MIXED, forms.STRENGTHS[0])(x)
            shift, deviation = correct[group.pool](x)
            columns = [
                line(own, pools, *forms.ROOFLINE)(x),
                line(own, pools, forms.PLAIN, POOLED)(x),
                drawn * np.exp(shift),
                *(x[:, forms.columns(g.terms)] @ g.coefficients for g in (many[group.name], own)),
            ]
            halves = [confidence.half_width(own.base, own.slope, confidence.novelty(one, own.x)) for one in x]
            times = group.typical_ms[np.isin(group.first, unseen)]
            for i, time in enumerate(times):
                predicted = tuple(float(max(c[i], 1e-6)) for c in columns)
                found.setdefault(group.name, []).append(
                    Outcome(family, float(time), predicted, halves[i], 1.6449 * float(deviation[i]))
                )
        print(family, flush=True)
    return found


def table(found: dict[str, list[Outcome]]) -> list[list]:
    """One row a group, in the order of COLUMNS."""
    lines = []
    for name, seen in sorted(found.items()):
        measured = np.array([o.measured_ms for o in seen])
        predicted = np.array([o.predicted_ms for o in seen])
        errors = np.median(np.abs(predicted / measured[:, None] - 1), axis=0)
        off = np.abs(np.log(predicted / measured[:, None]))
        half, other = (np.array([getattr(o, field) for o in seen]) for field in ("half", "process_half"))
        held = int(np.sum(off[:, -1] <= half))
        lines.append(
            [
                name.replace("|", ", "),
                len(seen),
                len({o.family for o in seen}),
                *(round(100 * float(e), 1) for e in errors),
                held,
                round(100 * held / len(seen), 1),
                "{:.0f} to {:.0f}".format(*(100 * end for end in binomial(held, len(seen)))),
                round(float(np.exp(2 * np.median(half))), 2),
                round(100 * float(np.mean(off[:, RIVALS.index("roofline + GP")] <= other)), 1),
            ]
        )
    return lines


def binomial(held: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson 1934)."""
    low = 0.0 if held == 0 else float(beta.ppf(0.025, held, of - held + 1))
    high = 1.0 if held == of else float(beta.ppf(0.975, held + 1, of - held))
    return low, high


def targets(lines: list[list]) -> list[dict]:
    """What was set out for, met and missed alike."""
    named = [dict(zip(COLUMNS, row, strict=True)) for row in lines]
    return [*_against_rivals(named), *_by_group(named)]


def _target(target: str, figure: str, met: bool) -> dict:
    return {"target": target, "figure": figure, "met": bool(met)}


def _all_but(of: list[dict], missed: list[str]) -> str:
    return f"{len(of) - len(missed)} of {len(of)}" + (f"; not {'; '.join(missed)}" if missed else "")


def _against_rivals(lines: list[dict]) -> list[dict]:
    large = [row for row in lines if row["networks"] >= ENOUGH]
    means = {name: float(np.mean([row[f"{name}, %"] for row in large])) for name in RIVALS}
    worse = [
        f"{row[COLUMNS[0]]} {row['estimator, %']} ({row['roofline, %']})"
        for row in large
        if row["estimator, %"] > row["roofline, %"] + 1
    ]
    low = [f"{row[COLUMNS[0]]} {row['coverage, %']:.0f}" for row in large if row["coverage, %"] < 80]
    pooled = 100 * sum(row["covered"] for row in lines) / sum(row["networks"] for row in lines)
    return [
        _target(
            f"least median error of all rivals, mean over groups of {ENOUGH} networks or more",
            ", ".join(f"{name} {value:.1f} %" for name, value in means.items()),
            min(means, key=lambda name: means[name]) == "estimator",
        ),
        _target(
            f"no group of {ENOUGH} networks or more worse than the plain roofline by more than 1 point",
            _all_but(large, worse),
            not worse,
        ),
        _target("90 % intervals hold for 88 to 93 %, all networks", f"{pooled:.1f} %", 88 <= pooled <= 93),
        _target(
            f"coverage at least 80 % in every group of {ENOUGH} networks or more",
            _all_but(large, low),
            not low,
        ),
    ]


def _by_group(lines: list[dict]) -> list[dict]:
    large = [row for row in lines if row["networks"] >= ENOUGH]
    wide = [f"{row[COLUMNS[0]]} {row['width']}" for row in large if row["width"] > 2.5]
    on_pis = [r for r in lines if r[COLUMNS[0]].startswith("raspberry") and ", ncnn, float" in r[COLUMNS[0]]]
    above = [f"{row[COLUMNS[0]]} {row['estimator, %']}" for row in on_pis if row["estimator, %"] > 10]
    return [
        _target(
            f"median width at most 2.5 in every group of {ENOUGH} networks or more",
            _all_but(large, wide),
            not wide,
        ),
        *(
            _target(
                f"{name}: median error at most {limit} %",
                f"{row['estimator, %']} %",
                row["estimator, %"] <= limit,
            )
            for name, limit in (
                ("raspberry_pi_4, litert, int8, 4", 4.5),
                ("raspberry_pi_4, litert, float32, 4", 6),
            )
            for row in lines
            if row[COLUMNS[0]] == name
        ),
        _target("ncnn on the Pis, float: median error at most 10 %", _all_but(on_pis, above), not above),
    ]


def main() -> None:
    """Writes benchmarks/results/estimator_rivals.*."""
    lines = table(outcomes(fit.to_fit(rows.read(rows.folder()))))
    record.write(
        "estimator_rivals", "Estimator and rivals, families taken out", COLUMNS, lines, targets(lines)
    )


if __name__ == "__main__":
    main()
