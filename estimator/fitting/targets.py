"""What the estimator set out to reach, beside what its validation found: met and missed alike."""

from collections.abc import Iterable
from math import comb, exp, factorial
from typing import Any

from estimator.confidence import COVERAGE

Entry = dict[str, Any]
MANY = 200  # rows from which coverage is held to 86 to 94 %
WELL_MEASURED = 100  # rows from which widths are held to 1.6
FEW = 6
SURE = 0.95  # what counts as binomial noise: the middle 95 %


def rows(table: dict[str, Entry], within: dict[str, float]) -> list[dict[str, Any]]:
    """Returns `{"target", "figure", "met"}` each, from the validation table by group name and each device's
    rank correlation.
    """
    found = [*_nasbench(table), *_errors(table), *_intervals(table)]
    ranks = {name: entry["leave_one_family_out"]["rank_correlation"] for name, entry in table.items()}
    low = [name for name, rank in ranks.items() if rank < 0.95]
    behind = [
        name
        for name, entry in table.items()
        if entry["leave_one_family_out"]["median_error"]
        >= min(entry["rival_macs"]["median_error"], entry["rival_parameters"]["median_error"])
    ]
    behind_devices = [f"{device} {rank:.2f}" for device, rank in sorted(within.items()) if rank < 0.95]
    few = sum(table[name]["networks"] <= FEW for name in low)
    return [
        *found,
        _row(
            "rank correlation within a device at least 0.95, all its held-out rows",
            f"{len(within) - len(behind_devices)} of {len(within)} devices"
            + (f"; not {', '.join(behind_devices)}" if behind_devices else ""),
            not behind_devices,
        ),
        _row(
            "rank correlation of every group at least 0.95",
            f"{len(table) - len(low)} of {len(table)} groups, lowest {min(ranks.values()):.2f}"
            f" ({_named(min(ranks, key=lambda name: ranks[name]))}); {few} of the others have {FEW} networks"
            " or fewer, where one swapped pair is enough",
            not low,
        ),
        _row(
            "every group better than MACs alone and than parameters x constant",
            f"{len(table) - len(behind)} of {len(table)} groups" + _but(behind),
            not behind,
        ),
    ]


def _row(target: str, figure: str, met: bool) -> dict[str, Any]:
    return {"target": target, "figure": figure, "met": bool(met)}


def _named(name: str) -> str:
    device, runtime, precision, threads = name.split("|")
    return f"{device} {runtime} {precision}" + (f" {threads} threads" if threads not in "01" else "")


def _but(names: Iterable[str]) -> str:
    listed = ", ".join(map(_named, names))
    return f"; not {listed}" if listed else ""


def _nasbench(table: dict[str, Entry]) -> Iterable[dict[str, Any]]:
    for name, entry in sorted(table.items()):
        if "unseen_size" in entry:
            error, worst = entry["leave_one_family_out"]["median_error"], max(entry["unseen_size"].values())
            runtime = name.split("|")[1]
            yield _row(
                f"Pi 5, NAS-Bench-201, {runtime}: median error at most 2 %, five folds over cells",
                f"{100 * error:.1f} %",
                error <= 0.02,
            )
            yield _row(
                f"Pi 5, NAS-Bench-201, {runtime}: median error at most 4 % on an unseen input size",
                f"{100 * worst:.1f} % on the worst of three",
                worst <= 0.04,
            )


def _errors(table: dict[str, Entry]) -> Iterable[dict[str, Any]]:
    for precision in ("int8", "float32"):
        held = table[f"raspberry_pi_4|litert|{precision}|4"]["leave_one_family_out"]
        yield _row(
            f"Pi 4, LiteRT {precision}: median error at most 10 %, 85 % of rows within 25 %",
            f"{100 * held['median_error']:.1f} %, {100 * held['within_25']:.0f} %",
            held["median_error"] <= 0.1 and held["within_25"] >= 0.85,
        )
    on_pis = {
        name: entry["leave_one_family_out"]["median_error"]
        for name, entry in sorted(table.items())
        if name.startswith("raspberry_pi") and name.split("|")[1] == "ncnn"
    }
    for kind, chosen in (
        ("float", {n: e for n, e in on_pis.items() if "|int8|" not in n}),
        ("INT8 (5 or 6 networks each)", {n: e for n, e in on_pis.items() if "|int8|" in n}),
    ):
        above = [f"{_named(name)} {100 * error:.1f} %" for name, error in chosen.items() if error > 0.12]
        yield _row(
            f"ncnn on the Pis, {kind}: median error at most 12 %",
            f"{len(chosen) - len(above)} of {len(chosen)} groups"
            + (f"; not {', '.join(above)}" if above else ""),
            not above,
        )
    error = table["jetson_nano|tensorrt|float16|1"]["leave_one_family_out"]["median_error"]
    yield _row("Jetson Nano, TensorRT FP16: median error at most 15 %", f"{100 * error:.1f} %", error <= 0.15)


def _intervals(table: dict[str, Entry]) -> Iterable[dict[str, Any]]:
    many = {name: entry["coverage"] for name, entry in sorted(table.items()) if entry["rows"] >= MANY}
    off = [
        f"{_named(name)} {100 * covered:.1f} %"
        for name, covered in many.items()
        if not 0.86 <= covered <= 0.94
    ]
    yield _row(
        f"90 % intervals hold for 86 to 94 % of rows, groups of {MANY} rows or more, nested",
        f"{len(many) - len(off)} of {len(many)} groups" + (f"; not {', '.join(off)}" if off else ""),
        not off,
    )
    rest = {name: entry for name, entry in sorted(table.items()) if entry["rows"] < MANY}
    noisy = [
        f"{_named(name)} {100 * entry['coverage']:.0f} %"
        for name, entry in rest.items()
        if not _is_noise(round(entry["coverage"] * entry["rows"]), entry["rows"])
    ]
    total = sum(entry["rows"] for entry in rest.values())
    pooled = sum(entry["coverage"] * entry["rows"] for entry in rest.values()) / total
    by_chance = sum(_outside_by_chance(entry["rows"]) for entry in rest.values())
    yield _row(
        "90 % intervals of smaller groups hold within binomial noise of 90 %, nested",
        f"{len(rest) - len(noisy)} of {len(rest)} groups, {100 * pooled:.1f} % of their {total:,} rows"
        + (f"; not {', '.join(noisy)}" if noisy else "")
        + f"; of exact intervals chance would show {by_chance:.1f} groups outside",
        _tail(len(noisy), by_chance) > 1 - SURE,
    )
    widths = {
        name: entry["interval_width"]
        for name, entry in sorted(table.items())
        if entry["rows"] >= WELL_MEASURED
    }
    wide = [f"{_named(name)} {width:.2f}" for name, width in widths.items() if width > 1.6]
    yield _row(
        f"median width (high / low) at most 1.6, groups of {WELL_MEASURED} rows or more",
        f"{len(widths) - len(wide)} of {len(widths)} groups" + (f"; not {', '.join(wide)}" if wide else ""),
        not wide,
    )


def _chance(counts: Iterable[int], rows: int) -> float:
    """How likely one of these counts of `rows` intervals holds where each does with a chance of 90 %."""
    return sum(comb(rows, k) * COVERAGE**k * (1 - COVERAGE) ** (rows - k) for k in counts)


def _is_noise(held: int, rows: int) -> bool:
    """Whether so many of `rows` intervals holding is what chance does to a coverage of 90 %."""
    return min(_chance(range(held + 1), rows), _chance(range(held, rows + 1), rows)) > (1 - SURE) / 2


def _tail(count: int, expected: float) -> float:
    """How likely at least `count` groups are outside where `expected` are by chance (Poisson)."""
    return 1 - sum(exp(-expected) * expected**k / factorial(k) for k in range(count))


def _outside_by_chance(rows: int) -> float:
    """How likely a group of `rows` whose intervals hold with a chance of exactly 90 % looks as if they did
    not.
    """
    return _chance((held for held in range(rows + 1) if not _is_noise(held, rows)), rows)
