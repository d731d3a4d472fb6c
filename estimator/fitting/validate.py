"""How wrong the predictions are, on networks that the fit did not see, beside two rivals on the same rows.

The rivals are what other tools do: MACs over one rate, and parameters times a constant; both get their
constant fitted to the same training rows.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from estimator import coefficients, confidence, features, predict
from estimator.fitting import intervals, large, rows, targets
from estimator.fitting.group import Group

BINS = 4


def metrics(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Median absolute error, shares within 10 and 25 % (fractions), rank correlation (Spearman)."""
    error = np.abs(predicted / measured - 1)
    # rounded, so that rows of one network tie on every machine
    logs = [np.log(values).round(6) for values in (predicted, measured)]
    rank = float(spearmanr(*logs).statistic) if len(measured) > 2 else float("nan")
    return {
        "median_error": float(np.median(error)),
        "within_10": float(np.mean(error <= 0.1)),
        "within_25": float(np.mean(error <= 0.25)),
        "rank_correlation": rank,
    }


def rival(group: Group, of: np.ndarray) -> np.ndarray:
    """Predictions of latency = constant * `of`, each family by a constant fitted to the others."""
    predicted = np.zeros(len(of))
    for name in np.unique(group.family):
        out = group.family == name
        predicted[out] = of[out] * np.median(group.latency_ms[~out] / of[~out])
    return predicted


def noise_floor(group: Group) -> float | None:
    """Median difference of a row from the median of its own network: no prediction can do better. None where
    nothing was measured twice."""
    off = []
    for network in np.unique(group.network):
        times = group.latency_ms[group.network == network]
        if len(times) > 1:
            off.extend(np.abs(times / np.median(times) - 1))
    return float(np.median(off)) if off else None


def of_group(group: Group) -> dict[str, Any]:
    """The validation table's entry for one group."""
    macs = group.x[:, 2:6].sum(axis=1)
    growth = 1 + group.slope * intervals.held_out_novelty(group)
    errors = np.abs(group.errors)
    return {
        "families": sorted(set(group.family)),
        "networks": len(set(group.network)),
        "rows": len(group.x),
        "protocol": "leave one family out",
        "leave_one_family_out": metrics(group.held_out, group.latency_ms),
        "random": metrics(group.random, group.latency_ms),
        "noise_floor": noise_floor(group),
        "coverage": float(np.mean(errors <= group.nested)),
        "coverage_not_nested": float(np.mean(errors <= group.base * growth)),
        "interval_width": float(np.exp(2 * np.median(group.base * growth))),
        "rival_macs": metrics(rival(group, macs), group.latency_ms),
        "rival_parameters": metrics(
            rival(group, group.x[:, features.NAMES.index("parameters")]), group.latency_ms
        ),
    }


def of_large(group: dict[str, Any]) -> dict[str, Any]:
    """The same for NAS-Bench-201: five folds over cells in place of families, and each input size left
    out.
    """
    measured, x = group["latency_ms"], group["x"]
    half = np.abs(np.log(group["folds"] / measured))
    covered = []
    for fold in np.unique(group["fold"]):
        out = group["fold"] == fold
        covered.append(half[out] <= confidence.conformal(half[~out]))
    constants = {
        name: np.median(measured / values) * values
        for name, values in (
            ("rival_macs", x[:, 2:6].sum(axis=1)),
            ("rival_parameters", x[:, features.NAMES.index("parameters")]),
        )
    }
    return {
        "families": ["nas-bench-201"],
        "networks": len(measured) // 3,
        "rows": len(measured),
        "protocol": "five folds over cells",
        "leave_one_family_out": metrics(group["folds"], measured),
        "random": metrics(group["folds"], measured),
        "noise_floor": None,
        "coverage": float(np.mean(np.concatenate(covered))),
        "coverage_not_nested": float(np.mean(half <= group["base"])),
        "interval_width": float(np.exp(2 * group["base"])),
        "unseen_size": {
            str(size): large._error(group["sizes"][group["size"] == size], measured[group["size"] == size])
            for size in np.unique(group["size"])
        },
        **{name: metrics(values, measured) for name, values in constants.items()},
    }


def confidence_bins(groups: list[Group]) -> list[dict[str, float]]:
    """Median held-out error by confidence, lowest to highest quarter: it must fall."""
    scores = np.concatenate(
        [
            [
                confidence.score(confidence.half_width(g.base, g.slope, d))
                for d in intervals.held_out_novelty(g)
            ]
            for g in groups
        ]
    )
    errors = np.concatenate([np.abs(g.held_out / g.latency_ms - 1) for g in groups])
    order = np.argsort(scores, kind="stable")
    return [
        {
            "from": float(scores[part].min()),
            "to": float(scores[part].max()),
            "rows": len(part),
            "median_error": float(np.median(errors[part])),
            "within_25": float(np.mean(errors[part] <= 0.25)),
        }
        for part in np.array_split(order, BINS)
    ]


def ranks(groups: list[Group]) -> dict[str, float]:
    """Rank correlation over all held-out rows of a device, whatever runtime, precision and threads, by
    device.
    """
    found = {}
    for device in sorted({g.name.split("|")[0] for g in groups}):
        mine = [g for g in groups if g.name.startswith(f"{device}|")]
        found[device] = metrics(
            np.concatenate([g.held_out for g in mine]), np.concatenate([g.latency_ms for g in mine])
        )["rank_correlation"]
    return found


def markdown(table: dict[str, dict[str, Any]], bins: list[dict[str, float]], within: dict[str, float]) -> str:
    """The whole validation as a Markdown page."""

    def percent(value: float) -> str:
        return f"{100 * value:.1f}"

    lines = [
        "# Estimator: validation",
        "",
        (
            "Command: `python -m estimator validate`. Every prediction is for a family of networks that the"
            " fit did not see (NAS-Bench-201, one family: five folds over cells). Errors in percent; width"
            " is the 90 % interval's high / low. The noise floor is what rows of one network differ by."
            " Coverage is nested: of each family by intervals that were calibrated without it too (not"
            " nested: by those that are shipped, which were calibrated on the same held-out errors). Rows"
            f" where more threads took over {rows.SLOWER} times as long as fewer did, same board and source,"
            " are left out as broken measurements; so are submissions that name no thread count and whose"
            " larger networks took that much longer than the fastest submission's on the same board and"
            " runtime. What each form of the cost model counts is chosen without the family as well."
        ),
        "",
        (
            "| device, runtime, precision, threads | rows | networks | noise floor | median error | within 10"
            " | within 25 | rank | coverage | not nested | width | random folds | MACs alone | params x"
            " constant |"
        ),
        "|---|" + "---:|" * 13,
    ]
    for name, entry in sorted(table.items()):
        held = entry["leave_one_family_out"]
        lines.append(
            "| "
            + " | ".join(
                [
                    name.replace("|", ", "),
                    str(entry["rows"]),
                    str(entry["networks"]),
                    "" if entry["noise_floor"] is None else percent(entry["noise_floor"]),
                    percent(held["median_error"]),
                    percent(held["within_10"]),
                    percent(held["within_25"]),
                    f"{held['rank_correlation']:.3f}",
                    percent(entry["coverage"]),
                    percent(entry["coverage_not_nested"]),
                    f"{entry['interval_width']:.2f}",
                    percent(entry["random"]["median_error"]),
                    percent(entry["rival_macs"]["median_error"]),
                    percent(entry["rival_parameters"]["median_error"]),
                ]
            )
            + " |"
        )
    sizes = {name: entry["unseen_size"] for name, entry in sorted(table.items()) if "unseen_size" in entry}
    lines += ["", "An input size left out (median error in percent):", ""]
    lines += [
        f"- {name.replace('|', ', ')}: " + ", ".join(f"{s} {percent(v)}" for s, v in sorted(unseen.items()))
        for name, unseen in sizes.items()
    ]
    lines += [
        "",
        "Does confidence earn its name? Held-out errors by confidence, in quarters:",
        "",
        "| confidence | rows | median error | within 25 |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {b['from']:.2f} to {b['to']:.2f} | {b['rows']} | {percent(b['median_error'])} | "
        f"{percent(b['within_25'])} |"
        for b in bins
    ]
    lines += ["", "| target | figure | met |", "|---|---|---|"]
    lines += [
        f"| {t['target']} | {t['figure']} | {'yes' if t['met'] else 'no'} |"
        for t in targets.rows(table, within)
    ]
    return "\n".join(lines) + "\n"


def kept_aside(path: Path) -> str:
    """Checks the shipped coefficients against another folder of rows (same files); returns a Markdown table.

    Rows of a group that was fitted are predicted as `estimate` would; networks that the fit saw are left out.
    """
    data = rows.read(path)
    data = data[data.features.notna()]
    lines = [
        (
            "| device, runtime, precision, threads | rows | networks | median error | within 10 | within 25 |"
            " rank | coverage | width |"
        ),
        "|---|" + "---:|" * 8,
    ]
    for name, part in data.groupby("group", sort=True):
        entry = coefficients.load()["groups"].get(name)
        part = part[~part.feat_key.isin(entry["networks"] if entry else [])]
        if entry is None or part.empty:
            continue
        times = [predict.time_of(x, name) for x in part.features]
        predicted = np.array([t.latency_ms for t in times])
        half = np.array([t.half for t in times])
        found = metrics(predicted, part.latency_ms.to_numpy())
        covered = np.mean(np.abs(np.log(predicted / part.latency_ms.to_numpy())) <= half)
        lines.append(
            f"| {name.replace('|', ', ')} | {len(part)} | {part.feat_key.nunique()} | "
            f"{100 * found['median_error']:.1f} | {100 * found['within_10']:.1f} | "
            f"{100 * found['within_25']:.1f} | {found['rank_correlation']:.3f} | {100 * covered:.1f} | "
            f"{np.exp(2 * np.median(half)):.2f} |"
        )
    return "\n".join(lines) + "\n"
