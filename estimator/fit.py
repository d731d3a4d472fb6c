"""Fits the cost model to measured rows and writes `coefficients.json`. Deterministic; one core, under two minutes.

Every group (device x runtime x precision x threads) gets non-negative coefficients of its own, drawn towards the
shape that all groups of its pool share. Which terms it uses and how hard it is drawn is chosen by leaving one family
out at a time, with that family left out of the pool too.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from estimator import coefficients, features, large, memory, power, rows, transfer
from estimator.devices import all_devices
from estimator.roofline import fit_group, fit_shape, row_weights

PLAIN = ("overhead", "layers", "dense_macs", "window_macs", "depthwise_macs", "grouped_macs", "activations",
         "parameters")
MIXED = (*PLAIN, "mixed")
# Overhead per inference and per layer are hard to tell apart on few networks, so either may be left out.
NARROW = (MIXED, MIXED[1:], (MIXED[0], *MIXED[2:]), MIXED[2:])
FORMS = (*NARROW, *((*form, "wide_macs") for form in NARROW))
STRENGTHS = (0.003, 0.03, 0.1, 0.3)
POOLED = {"litert", "armnn", "ncnn"}
NETWORKS, FAMILIES = 5, 2  # fewer can't be checked by leaving a family out


@dataclass
class Group:
    """The rows of one device x runtime x precision x threads, and what was fitted to them."""

    name: str
    x: np.ndarray
    latency_ms: np.ndarray
    family: np.ndarray
    network: np.ndarray
    pool: str
    frozen: bool
    form: tuple[str, ...] = MIXED
    strength: float = 0.03
    coefficients: np.ndarray = field(default_factory=lambda: np.zeros(0))
    held_out: np.ndarray = field(default_factory=lambda: np.zeros(0))
    random: np.ndarray = field(default_factory=lambda: np.zeros(0))
    correction: dict[str, Any] | None = None
    base: float = 0.0
    slope: float = 0.0
    nested: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def weights(self) -> np.ndarray:
        """So that a network counts once, however often it was measured."""
        return row_weights(self.network)

    @property
    def errors(self) -> np.ndarray:
        """Log errors on held-out families."""
        return np.log(self.held_out / self.latency_ms)


def columns(form: tuple[str, ...]) -> list[int]:
    """Where a form's terms stand among all features."""
    return [features.NAMES.index(name) for name in form]


def groups_of(data: pd.DataFrame) -> list[Group]:
    """Every group that has enough networks with known layers, relatives on other devices included."""
    known = data[data.features.notna()]
    found = []
    for name, part in known.groupby("group", sort=True):
        if part.feat_key.nunique() >= NETWORKS and part.family.nunique() >= FAMILIES:
            found.append(Group(name, np.stack(part.features.to_list()), part.latency_ms.to_numpy(),
                               part.family.to_numpy(str), part.feat_key.to_numpy(str), pool_of(name),
                               not bool(part.shippable.all())))
    return found


def pool_of(name: str) -> str:
    """The relatives a group borrows from: any processor with the same precision and one or several threads."""
    _, runtime, precision, threads = name.split("|")
    if runtime not in POOLED:
        return runtime
    return f"cpu|{precision}|{'one' if threads == '1' else 'many'}"


class Pools:
    """Shapes of pools, without a family where one is held out; computed once each."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self.shapes: dict[tuple[str, tuple[str, ...], str], np.ndarray | None] = {}

    def shape(self, pool: str, form: tuple[str, ...], without: str = "") -> np.ndarray | None:
        """Coefficients up to a factor, None where the pool is one group only."""
        key = (pool, form, without)
        if key not in self.shapes:
            members = [g for g in self.groups if g.pool == pool]
            masks = [g.family != without for g in members]
            kept = [(i, g, m) for i, (g, m) in enumerate(zip(members, masks, strict=True)) if m.any()]
            self.shapes[key] = None if len(kept) < 2 else fit_shape(
                np.vstack([g.x[m] for _, g, m in kept])[:, columns(form)],
                np.concatenate([g.latency_ms[m] for _, g, m in kept]),
                np.concatenate([np.full(m.sum(), i) for i, _, m in kept]),
                np.concatenate([g.weights[m] / np.sqrt(len(set(g.network[m]))) for _, g, m in kept]))
        return self.shapes[key]


def leave_out(group: Group, pools: Pools, form: tuple[str, ...], strength: float, labels: np.ndarray,
              pooled: bool = True) -> np.ndarray:
    """Predictions for each row by a fit that saw no row of its label; `pooled` leaves it out of the pool as well."""
    x = group.x[:, columns(form)]
    predicted = np.full(len(x), np.nan)
    for label in np.unique(labels):
        out = labels == label
        if out.all():
            continue
        shape = pools.shape(group.pool, form, label if pooled else "")
        predicted[out] = x[out] @ fit_group(x[~out], group.latency_ms[~out], group.weights[~out], shape, strength)
    return np.maximum(predicted, 1e-6)


def fit_one(group: Group, pools: Pools) -> None:
    """Chooses form and strength by leaving families out, then fits all rows."""
    best = np.inf
    for form in FORMS:
        if group.pool == "edgetpu":
            form = (*form, "spilled")
        for strength in STRENGTHS:
            held_out = leave_out(group, pools, form, strength, group.family)
            error = np.minimum(np.abs(np.log(held_out / group.latency_ms)), 1)
            loss = np.average(error, weights=group.weights**2) + np.median(error)
            if loss < best - 1e-9:
                best, group.form, group.strength, group.held_out = loss, form, strength, held_out
    fold = pd.factorize(group.network, sort=True)[0] % 5
    group.random = leave_out(group, pools, group.form, group.strength, fold, pooled=False)
    shape = pools.shape(group.pool, group.form)
    group.coefficients = fit_group(group.x[:, columns(group.form)], group.latency_ms, group.weights, shape,
                                   group.strength)


def ours(groups: list[Group]) -> list[Group]:
    """The groups that may be asked for: of a device that is described here and a runtime that it names."""
    found = []
    for group in groups:
        device, runtime = group.name.split("|")[:2]
        if device in all_devices() and runtime in all_devices()[device].runtimes:
            found.append(group)
    return found


def fit(path: Path, before: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fits all groups on the rows of a folder.

    Returns the content of `coefficients.json` and of `held_out.json`. Frozen groups whose rows are absent are taken
    from `before`, the coefficients as they were.
    """
    from estimator import intervals, validate  # they read Group

    data = rows.read(path)
    # Rows that may not ship would make this fit differ from one on the shipped rows, so they only feed frozen groups.
    open_groups = [g for g in groups_of(data[data.shippable]) if g.pool != "edgetpu"]
    closed = [g for g in groups_of(data) if g.pool == "edgetpu"] if not data.shippable.all() else []
    pools = Pools(open_groups + closed)
    mine = ours(open_groups + closed)
    for group in mine:
        fit_one(group, pools)
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
        "schema_version": coefficients.SCHEMA_VERSION, "rows_sha256": rows.digest(rows.SHIPPED),
        "groups": entries | kept, "networks": networks, **ratios, "frozen_ratios": runtimes,
        "memory": memory.measure(shippable, rows.largest_activation(path)),
        "power": power.measure(shippable[shippable.device.isin(list(all_devices()))], nas, (before or {}).get("power", {})),
        "confidence": validate.confidence_bins(mine) if closed else (before or {}).get("confidence", [])}
    points = {g.name: [[k, m, p] for k, m, p in zip(g.network.tolist(), g.latency_ms, g.held_out, strict=True)]
              for g in mine if not g.frozen}
    return content, points


def smallest_work_ms(parts: np.ndarray, form: tuple[str, ...]) -> float:
    """The least time that a measured network spends on anything but the overhead of an inference."""
    return float(parts[:, [i for i, name in enumerate(form) if name != "overhead"]].sum(axis=1).min())


def _entry(group: Group) -> dict[str, Any]:
    from estimator import validate

    return {"pool": group.pool, "frozen": group.frozen, "strength": group.strength,
            "smallest_work_ms": smallest_work_ms(group.x[:, columns(group.form)] * group.coefficients, group.form),
            "terms": dict(zip(group.form, group.coefficients, strict=True)), "correction": None,
            "networks": sorted(set(group.network)), "half_width": group.base, "novelty_slope": group.slope,
            "validation": validate.of_group(group)}


def _large_entry(group: dict[str, Any]) -> dict[str, Any]:
    from estimator import validate

    parts = group["x"][:, columns(group["form"])] * group["coefficients"]
    return {"pool": "", "frozen": True, "strength": 0.0,
            "smallest_work_ms": smallest_work_ms(parts, group["form"]),
            "terms": dict(zip(group["form"], group["coefficients"], strict=True)),
            "correction": None if group["correction"] is None else group["correction"],
            "reference": group["reference"], "radius": group["radius"], "half_width": group["base"],
            "novelty_slope": large.GROWTH / group["base"],
            "validation": validate.of_large(group)}
