"""Fitting to a limit on time: does `fit_limits` meet it, and is it as accurate as the best other variant that
does, with the same seconds of training as in a run of all these techniques?

Four shipped networks; limits of 75, 50 and 30 % of what the model as it was given is predicted at on the
Raspberry Pi 4. Of ours, the admissible variant with the best validation accuracy counts; of the others the
one with the best test accuracy, which flatters them. Each case is kept in build/ as soon as it is measured,
and taken from there unless `--again`. Needs EDGEWISE_DATA (mnist.npz, cifar10.npz).
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.engine_run import BUILD
from engine import datasets
from engine.backends import open_backend
from engine.face import Run, optimize
from engine.judge.limits import check
from engine.judge.measure import mcnemar_p
from engine.run.plan import pace_path, training_seconds
from engine.runtimes import format_of
from engine.store.files import read_json
from engine.vocabulary import Constraints, Pace, Variant

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a run's children

HOME, CASES = BUILD / "home-fit_limits", BUILD / "fit_limits"
DEVICE = "raspberry_pi_4"
NETWORKS = ("digits/pytorch/small", "mnist/pytorch/medium", "mnist/keras/medium", "cifar10/pytorch/small")
SHARES = (0.75, 0.5, 0.3)
OTHERS = ["ptq_int8", "qat_int8", "prune_structured", "hybrid", "distill"]
WORSE_P = 0.05
COLUMNS = [
    "network",
    "limit %",
    "limit ms",
    "ours",
    "ms",
    "accuracy %",
    "best other",
    "its ms",
    "its accuracy %",
    "p",
    "baseline %",
    "as accurate",
]


def right(run: Run, variant: Variant) -> np.ndarray:
    """Returns which test images a variant's file gets right, bool [n], in its own runtime."""
    model, dataset = run.experiment.model, str(run.experiment.dataset)
    backend = open_backend(model, HOME / "cache", 2, format_of(model, run.experiment.runtime))
    test = datasets.load(dataset, HOME, ("test",))["test"]
    found: np.ndarray = backend.predict(run.path_of(variant), test.images).argmax(axis=1) == test.labels
    return found


def asked(network: str, techniques: list[str], pace: Pace | None, seconds: int, **limits: float) -> Run:
    """Runs techniques on a network to the end."""
    return optimize(
        network,
        dataset=network.split("/")[0],
        device=DEVICE,
        techniques=techniques,
        pace=pace,
        time_budget_s=seconds,
        workspace=HOME,
        on_event=lambda e: print(f"  {e.text}", flush=True) if e.kind == "log" else None,
        **limits,
    )


def others(network: str, seconds: int) -> tuple[Run, Pace]:
    """Returns a run of the other techniques, and the pace at which ours is to train: all with their shares of
    one time budget.
    """
    shares = training_seconds([*OTHERS[1:], "fit_limits"], seconds)
    run = asked(network, OTHERS, None, round(seconds * (1 - shares["fit_limits"] / sum(shares.values()))))
    pace = Pace.model_validate(read_json(pace_path(HOME / "runs" / run.id)))
    return run, pace.model_copy(update={"training_s": {"fit_limits": shares["fit_limits"]}})


def measured(network: str, share: float, rivals: Run, pace: Pace, seconds: int) -> dict:
    """Returns one case's row by column; empty figures where nothing of ours is offered within the limit."""
    base = rivals.variant("baseline")
    limit = share * (base.estimates[DEVICE].latency_ms or 0.0)
    limits = Constraints(max_latency_ms=limit)
    run = asked(network, ["fit_limits"], pace, seconds, max_latency_ms=limit)
    ours = [v for v in run.variants if v.technique == "fit_limits" and v.admissible == "yes"]
    able = [v for v in rivals.variants if v.id != "baseline" and check(v, limits, DEVICE)[0] == "yes"]
    row = {
        "network": network,
        "limit %": round(100 * share),
        "limit ms": round(limit, 4),
        "baseline %": round(100 * (base.accuracy or 0.0), 2),
    }
    told = {v.id: v.reason or f"{v.accuracy}" for v in run.variants}
    if not ours:
        return row | {"ours": f"none: {told}", "as accurate": "no"}
    best = max(ours, key=lambda v: v.validation_accuracy or 0.0)
    row |= {
        "ours": best.id,
        "ms": round(best.estimates[DEVICE].latency_ms or 0.0, 4),
        "accuracy %": round(100 * (best.accuracy or 0.0), 2),
    }
    if not able:
        return row | {"best other": "none meets it", "as accurate": "yes"}
    rival = max(able, key=lambda v: v.accuracy or 0.0)
    mine, theirs = right(run, best), right(rivals, rival)
    p = mcnemar_p(theirs, mine)
    return row | {
        "best other": rival.id,
        "its ms": round(rival.estimates[DEVICE].latency_ms or 0.0, 4),
        "its accuracy %": round(100 * (rival.accuracy or 0.0), 2),
        "p": round(p, 4),
        "as accurate": "yes" if mine.mean() >= theirs.mean() or p >= WORSE_P else "no",
    }


def write(rows: list[dict], seconds: int) -> Path:
    """Writes results/fit_limits.* of the cases that there are."""
    met = sum("ms" in row and row["ms"] <= row["limit ms"] for row in rows)
    accurate, wanted = sum(row["as accurate"] == "yes" for row in rows), len(NETWORKS) * len(SHARES)
    targets = [
        {
            "target": f"the limit on predicted time is met in {wanted} of {wanted}",
            "figure": f"{met} of {len(rows)}",
            "met": met == wanted,
        },
        {
            "target": f"as accurate (paired) as the best other that meets it in 10 of {wanted} or more",
            "figure": f"{accurate} of {len(rows)}",
            "met": len(rows) == wanted and accurate >= 10,
        },
    ]
    table = [[row.get(column) for column in COLUMNS] for row in rows]
    title = "Fitted to a limit on predicted time, Raspberry Pi 4"
    return record.write("fit_limits", title, COLUMNS, table, targets, seed=0, time_budget_s=seconds)


def main() -> None:
    """Measures the cases that are missing and writes results/fit_limits.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=int, default=60, help="time budget of a run of all these techniques"
    )
    parser.add_argument("--again", action="store_true", help="measures cases anew that are kept")
    arguments = parser.parse_args()
    CASES.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    for network in NETWORKS:
        found: tuple[Run, Pace] | None = None
        for share in SHARES:
            kept = CASES / f"{network.replace('/', '_')}_{share}_{arguments.seconds}.json"
            if arguments.again or not kept.exists():
                found = found or others(network, arguments.seconds)
                print(network, share, flush=True)
                row = measured(network, share, *found, arguments.seconds)
                kept.write_text(json.dumps(row))
            rows.append(json.loads(kept.read_text()))
            path = write(rows, arguments.seconds)
    print(path.read_text())


if __name__ == "__main__":
    main()
