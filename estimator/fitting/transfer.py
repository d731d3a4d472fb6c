"""Ratios between devices, runtimes, precisions and thread counts, measured on networks that both sides ran.

Where a device x runtime has no rows of its own, its prediction is another group's times such ratios. A ratio
that was measured elsewhere (say the runtimes' on another device) is widened by how much such ratios differ
between places.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from estimator import confidence
from estimator.devices import accelerated

AXES = ("device", "runtime", "precision", "threads")
RUNTIMES = ("litert", "armnn", "ncnn", "ncnn-vulkan", "tensorrt", "edgetpu")
PAIRS = 3  # fewer networks in common say nothing of the spread
FLOOR = 0.1  # log; no ratio is known better than boards and versions differ


def measure(data: pd.DataFrame, devices: set[str]) -> dict[str, Any]:
    """Returns `{"ratios": [...], "elsewhere": {axis: log half-width}}`, the ratios among the given
    devices.
    """
    data = data[data.runtime.isin(RUNTIMES)].copy()
    name = data.feat_key.where(data.feat_key.notna(), data.model.str.lower() + "@" + data["size"])
    typical = data.assign(network=name).groupby([*AXES, "network"]).latency_ms.median()
    places = {key: part.droplevel(list(AXES)) for key, part in typical.groupby(level=list(AXES))}
    ratios = []
    for (a, first), (b, second) in combinations(sorted(places.items()), 2):
        changed = [i for i in range(len(AXES)) if a[i] != b[i]]
        if len(changed) != 1 or not _comparable(a, b):
            continue
        both = first.index.intersection(second.index)
        if len(both) >= PAIRS:
            logs = np.log(second[both].to_numpy() / first[both].to_numpy())
            ratios.append(_ratio(AXES[changed[0]], a, b, logs))
    ratios.sort(key=lambda r: (r["axis"], [str(v) for v in (*r["from"], *r["to"])]))
    wanted = [
        r for r in ratios if {r["from"][0], r["to"][0]} <= devices and min(r["from"][3], r["to"][3]) > 0
    ]
    # Our own devices tell best how ratios travel among them; runtimes are compared on too few, so relatives
    # help.
    return {
        "ratios": wanted,
        "elsewhere": {axis: _elsewhere(ratios if axis == "runtime" else wanted, axis) for axis in AXES},
    }


def _comparable(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Processors and accelerators are no relatives, nor are the runtimes of one and of the other."""
    return (a[1] in accelerated()) == (b[1] in accelerated())


def between_runtimes(bench: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Ratios of runtimes on the Raspberry Pi 5, one thread, by NAS-Bench-201; empty where its rows are
    absent.
    """
    if bench is None:
        return []
    times = bench.pivot_table(index=["task", "arch_idx"], columns="runtime", values="latency_ms")
    place = ("raspberry_pi_5", "litert", "float32", 1)
    return [
        _ratio(
            "runtime", place, (place[0], other, *place[2:]), np.log((times[other] / times.litert).to_numpy())
        )
        for other in ("onnxruntime", "torchscript")
    ]


def _ratio(axis: str, a: tuple[Any, ...], b: tuple[Any, ...], logs: np.ndarray) -> dict[str, Any]:
    middle = float(np.median(logs))
    spread = confidence.conformal(np.abs(logs - middle))
    values = [[int(v) if isinstance(v, (int, np.integer)) else v for v in side] for side in (a, b)]
    return {
        "axis": axis,
        "from": values[0],
        "to": values[1],
        "ratio": round(float(np.exp(middle)), 4),
        "half_width": round(max(spread, FLOOR), 4),
        "networks": len(logs),
    }


def _elsewhere(ratios: list[dict[str, Any]], axis: str) -> float:
    """How far two measurements of one ratio lie apart when the other axes differ: 90 % quantile, log."""
    place = AXES.index(axis)
    same: dict[tuple[Any, Any], list[float]] = {}
    for ratio in ratios:
        if ratio["axis"] == axis:
            same.setdefault((ratio["from"][place], ratio["to"][place]), []).append(np.log(ratio["ratio"]))
    gaps = [abs(x - y) for values in same.values() for x, y in combinations(values, 2)]
    return round(float(np.quantile(gaps, confidence.COVERAGE)), 4)
