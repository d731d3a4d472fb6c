"""Fits the cost model to measured rows and writes `coefficients.json`. Deterministic; one core, under two
minutes.

Every group (device x runtime x precision x threads) gets non-negative coefficients of its own: the plain
roofline's and others that are drawn towards the shape that all groups of its pool share, averaged as
`forms.weights` says.
Whatever is said of a family was predicted without it: in the group, in the pool and in the weights.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from estimator import coefficients, features, memory
from estimator.devices import all_devices
from estimator.fitting import forms, intervals, large, power, rows, transfer, validate
from estimator.fitting.forms import RECIPE, Candidate, Recipe, columns
from estimator.fitting.group import Group, groups_of
from estimator.fitting.roofline import fit_group, fit_shape

COUNTS = 0.5  # of an even share; a candidate with less says nothing of how large an overhead may be


class Pools:
    """Shapes of pools, without a family or a fold where one is held out; computed once each."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self.shapes: dict[tuple[str, tuple[str, ...], str, str], np.ndarray | None] = {}

    def shape(
        self, pool: str, form: tuple[str, ...], by: str = "family", without: str = ""
    ) -> np.ndarray | None:
        """Coefficients up to a factor, None where the pool is one group only."""
        key = (pool, form, by, without)
        if key not in self.shapes:
            members = [(g, g.labels(by)[g.first] != without) for g in self.groups if g.pool == pool]
            kept = [(i, g, mask) for i, (g, mask) in enumerate(members) if mask.any()]
            self.shapes[key] = (
                None
                if len(kept) < 2
                else fit_shape(
                    np.vstack([g.x[g.first][m] for _, g, m in kept])[:, columns(form)],
                    np.concatenate([g.typical_ms[m] for _, g, m in kept]),
                    np.concatenate([np.full(m.sum(), i) for i, _, m in kept]),
                    np.concatenate([np.full(m.sum(), 1 / np.sqrt(m.sum())) for _, _, m in kept]),
                )
            )
        return self.shapes[key]


def leave_out(
    group: Group, pools: Pools, form: tuple[str, ...], strength: float, by: str = "family"
) -> np.ndarray:
    """Predictions for each row by a fit that saw no row of its label (see `Group.labels`), nor did the
    pool.
    """
    x, labels = group.x[:, columns(form)], group.labels(by)
    predicted = np.full(len(x), np.nan)
    for label in np.unique(labels):
        out, kept = labels == label, labels[group.first] != label
        if kept.any():
            shape = pools.shape(group.pool, form, by, label) if strength else None
            predicted[out] = x[out] @ fit_group(
                x[group.first][kept], group.typical_ms[kept], np.ones(kept.sum()), shape, strength
            )
    found: np.ndarray = np.maximum(predicted, 1e-6)
    return found


def fit_kind(groups: list[Group], pools: Pools, recipe: Recipe = RECIPE) -> None:
    """Fits the groups of one kind: every candidate on each, then their weighted means."""
    runtime = groups[0].name.split("|")[1]
    candidates = [(forms.terms_of(runtime, form), strength) for form, strength in recipe.candidates]
    tried = [
        {by: np.stack([leave_out(g, pools, *c, by) for c in candidates]) for by in recipe.held_out}
        for g in groups
    ]
    for by in recipe.held_out:
        predicted = [np.zeros(len(g.x)) for g in groups]
        for label in np.unique(np.concatenate([g.labels(by) for g in groups])):
            shares = forms.weights(groups, tried, by, label, recipe)
            for values, group, own, share in zip(predicted, groups, tried, shares, strict=True):
                out = group.labels(by) == label
                values[out] = share @ own[by][:, out]
        for values, group in zip(predicted, groups, strict=True):
            setattr(group, "held_out" if by == "family" else "random", values)
    for group, shares in zip(groups, forms.weights(groups, tried, recipe=recipe), strict=True):
        _settle(group, pools, candidates, shares)


def _settle(group: Group, pools: Pools, candidates: list[Candidate], shares: np.ndarray) -> None:
    """Gives the group the mean of the candidates' coefficients, fitted to all of its networks."""
    group.terms = tuple(n for n in features.NAMES if any(n in form for form, _ in candidates))
    group.coefficients = np.zeros(len(group.terms))
    for share, (form, strength) in zip(shares, candidates, strict=True):
        found = fit_group(
            group.x[group.first][:, columns(form)],
            group.typical_ms,
            np.ones(len(group.first)),
            pools.shape(group.pool, form) if strength else None,
            strength,
        )
        group.coefficients[[group.terms.index(term) for term in form]] += share * found
        if form[0] == "overhead" and share > COUNTS / len(candidates):
            group.most_overhead_ms = max(group.most_overhead_ms, float(found[0]))
    grouped, depthwise = (group.terms.index(term) for term in ("grouped_macs", "depthwise_macs"))
    if not group.x[:, columns(("grouped_macs",))].any():
        # A fit without relatives has nothing for them: they cost no less than what is most like them.
        least = group.coefficients[depthwise]
        group.coefficients[grouped] = max(group.coefficients[grouped], least)


def ours(groups: list[Group]) -> list[Group]:
    """The groups that may be asked for: of a device that is described here and a runtime that it names."""
    found = []
    for group in groups:
        device, runtime = group.name.split("|")[:2]
        if device in all_devices() and runtime in all_devices()[device].runtimes:
            found.append(group)
    return found


def to_fit(data: pd.DataFrame) -> list[Group]:
    """All groups of the rows, relatives on other devices included. Rows that may not ship would make a fit
    differ from one on the shipped rows, so they only feed frozen groups.
    """
    found = [g for g in groups_of(data[data.shippable]) if g.pool != "edgetpu"]
    return found + ([g for g in groups_of(data) if g.pool == "edgetpu"] if not data.shippable.all() else [])


def fit(path: Path, before: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fits all groups on the rows of a folder.

    Returns the content of `coefficients.json` and of `held_out.json`. Frozen groups whose rows are absent are
    taken from `before`, the coefficients as they were.
    """
    data = rows.read(path)
    groups = to_fit(data)
    pools, mine = Pools(groups), ours(groups)
    for kind in sorted({g.kind for g in mine}):
        fit_kind([g for g in mine if g.kind == kind], pools)
    intervals.calibrate(mine)
    nas = rows.read_nasbench(path)
    bench = large.fit_all(nas)
    entries = {g.name: _entry(g) for g in mine} | {g["name"]: _large_entry(g) for g in bench}
    shippable = data[data.shippable]
    ratios = transfer.measure(shippable, set(rows.DEVICES.values()))
    runtimes = transfer.between_runtimes(nas)
    kept = {k: v for k, v in (before or {}).get("groups", {}).items() if v["frozen"] and k not in entries}
    if not runtimes and before:
        runtimes = before["frozen_ratios"]
    known = rows.table_of_features(path)
    networks = {key: known[key] for entry in (entries | kept).values() for key in entry.get("networks", [])}
    content = {
        "schema_version": coefficients.SCHEMA_VERSION,
        "rows_sha256": rows.digest(rows.SHIPPED),
        "groups": entries | kept,
        "networks": networks,
        **ratios,
        "frozen_ratios": runtimes,
        "memory": memory.measure(shippable, rows.largest_activation(path)),
        "power": power.measure(
            shippable[shippable.device.isin(list(all_devices()))], nas, (before or {}).get("power", {})
        ),
        "ranks": {**(before or {}).get("ranks", {}), **validate.ranks(mine)},
        "confidence": validate.confidence_bins(mine)
        if not data.shippable.all()
        else (before or {}).get("confidence", []),
    }
    points = {
        g.name: [[k, m, p] for k, m, p in zip(g.network.tolist(), g.latency_ms, g.held_out, strict=True)]
        for g in mine
        if not g.frozen
    }
    return content, points


def smallest_work_ms(parts: np.ndarray, form: tuple[str, ...]) -> float:
    """The least time that a measured network spends on anything but the overhead of an inference."""
    return float(parts[:, [i for i, name in enumerate(form) if name != "overhead"]].sum(axis=1).min())


def _entry(group: Group) -> dict[str, Any]:
    parts = group.x[:, columns(group.terms)] * group.coefficients
    return {
        "pool": group.pool,
        "frozen": group.frozen,
        "smallest_work_ms": smallest_work_ms(parts, group.terms),
        "most_overhead_ms": group.most_overhead_ms,
        "terms": dict(zip(group.terms, group.coefficients, strict=True)),
        "correction": None,
        "networks": sorted(set(group.network)),
        "half_width": group.base,
        "novelty_slope": group.slope,
        "validation": validate.of_group(group),
    }


def _large_entry(group: dict[str, Any]) -> dict[str, Any]:
    parts = group["x"][:, columns(group["form"])] * group["coefficients"]
    return {
        "pool": "",
        "frozen": True,
        "smallest_work_ms": smallest_work_ms(parts, group["form"]),
        "most_overhead_ms": float(group["coefficients"][0]),
        "terms": dict(zip(group["form"], group["coefficients"], strict=True)),
        "correction": None if group["correction"] is None else group["correction"],
        "reference": group["reference"],
        "radius": group["radius"],
        "half_width": group["base"],
        "novelty_slope": large.GROWTH / group["base"],
        "validation": validate.of_large(group),
    }
