"""An uploaded ResNet-20 (91.5 % on the 1,000 lossless CIFAR-10 test images): structured pruning, INT8 and
INT4.

Medians over seeds, measured pairwise on the 1,000 test images; the uploaded network has seen every training
image, so those prove nothing. INT8 and INT4 are variants of a run. Structured pruning is made alone, by the
technique's own steps, because a run would spend five sixths of its time on the ratios that are not asked for
here. Needs EDGEWISE_DATA (cifar10.npz) and EDGEWISE_UPLOADS (akamaster's resnet20).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import record
from benchmarks.engine_run import BUILD, COLUMNS, resnet20, row, run
from engine import datasets
from engine.judge import measure

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # as in a run's children: threads that spin starve each other

HOME = (
    BUILD / "home-cifar_resnet"
)  # a workspace of its own, so that benchmarks do not queue behind each other
QUANTIZED = ("ptq_int8", "qat_int8", "ptq_int4", "ptq_int4@mixed", "qat_int8@int4")
# of the channels inside blocks, which leaves about half of all MACs
RATIO = 0.5


def structured(model, seed: int, seconds: float) -> dict:
    """Removes channels in one go and fine-tunes for about `seconds`, as prune_structured does; returns its
    figures.
    """
    from engine.backends import open_backend
    from engine.techniques import prune_structured
    from engine.techniques.job import Data, Job
    from engine.techniques.shared.sensitivity import sensitivity
    from engine.techniques.workbench import Workbench

    parts = datasets.load("cifar10", HOME, ("train", "validation", "calibration", "test"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cache").mkdir()
        backend = open_backend(
            model, Path(folder) / "cache", 1
        )  # one core, so that another job may have the second
        network = backend.load(model)
        facts = backend.facts(network)
        image_s = backend.step_seconds(network, parts["train"], 64, 2.0) / 64
        facts = type(facts)(**{**facts.__dict__, "image_s": image_s, "evaluate_images_per_s": 3 / image_s})
        rows = sensitivity(backend, network, facts, parts["validation"], lambda done, layer: None)
        job = Job(
            "prune_structured",
            model,
            facts,
            Path(folder),
            seed,
            seconds,
            tolerance=0.01,
            sensitivity=tuple(rows),
        )
        data = Data(parts["train"], parts["validation"], parts["calibration"])
        bench = Workbench(job, backend, data, lambda message: None)
        with bench.variant("prune_structured") as making:
            cut = prune_structured.cut(bench, making, network, RATIO, "l2")
            trained = making.train(
                cut,
                1.0,
                "The channels that are left make up for those that went.",
                prune_structured.learning_rate(bench, cut),
                teacher=network,
                mix=0.5,
            )
            artifact = making.export(trained.network)
            baseline = backend.export(network, None, None, Path(folder) / "baseline")
            tuned = next(s for s in making.steps if s.what == "fine_tune").parameters
        right = {
            name: backend.predict(path, parts["test"].images).argmax(1) == parts["test"].labels
            for name, path in (("baseline", baseline), ("pruned", artifact))
        }
        macs = backend.cost(network)[0] / backend.cost(trained.network)[0]
        return {
            "accuracy": float(right["pruned"].mean()),
            "drop_pp": 100 * float(right["baseline"].mean() - right["pruned"].mean()),
            "p_value": measure.mcnemar_p(right["baseline"], right["pruned"]),
            "bytes": artifact.stat().st_size,
            "times_smaller": baseline.stat().st_size / artifact.stat().st_size,
            "times_fewer_macs": macs,
            "steps": tuned["steps"],
            "batch": tuned["batch"],
            "seconds": time.monotonic() - began,
        }


def main() -> None:
    """Runs the engine and the pruning once a seed, writes results/cifar_resnet.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time budget of each run")
    parser.add_argument(
        "--pruning-seconds", type=int, default=500, help="fine-tuning of each pruned network, on one core"
    )
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    model = resnet20(HOME)
    results, pruned = [], []
    for seed in range(arguments.seeds):
        pruned.append(structured(model, seed, arguments.pruning_seconds))
        print(f"seed {seed}: {pruned[-1]}", flush=True)
        results.append(
            run(
                model,
                "cifar10",
                "raspberry_pi_4",
                ["ptq_int8", "ptq_int4", "qat_int8"],
                arguments.seconds,
                seed,
                1.5,
                HOME,
            )
        )
    runs = [{v.id: v for v in result.variants} for result in results]
    drops = {name: median(found[name].accuracy_drop_pp for found in runs) for name in QUANTIZED}
    structured_drop, macs = (median(p[key] for p in pruned) for key in ("drop_pp", "times_fewer_macs"))
    int8, int4 = (
        min(("ptq_int8", "qat_int8"), key=drops.get),
        min(("ptq_int4", "qat_int8@int4"), key=drops.get),
    )
    targets = [
        {
            "target": "structured: 2 times fewer MACs at 1.5 pp or less",
            "met": macs >= 2 and structured_drop <= 1.5,
            "figure": (
                f"{macs:.2f} times at {structured_drop:.2f} pp,"
                f" {median(p['steps'] * p['batch'] for p in pruned):,.0f} images of fine-tuning"
            ),
        },
        {
            "target": "INT8 at 0.3 pp or less",
            "figure": f"{int8}: {drops[int8]:.2f} pp",
            "met": drops[int8] <= 0.3,
        },
        {
            "target": "INT4 at 1.0 pp or less",
            "figure": f"{int4}: {drops[int4]:.2f} pp",
            "met": drops[int4] <= 1.0,
        },
    ]
    rows = [[f"median: {name}", None, drops[name]] + [None] * 8 for name in QUANTIZED]
    rows.append(
        [
            "median: channels removed",
            None,
            structured_drop,
            None,
            None,
            None,
            None,
            round(macs, 2),
            None,
            None,
            None,
        ]
    )
    rows += [
        [f"seed {seed}: {line[0]}", *line[1:]]
        for seed, found in enumerate(runs)
        for line in (row(v, found["baseline"]) for v in found.values())
    ]
    rows += [
        [
            f"seed {seed}: channels removed",
            round(100 * p["accuracy"], 2),
            p["drop_pp"],
            round(p["p_value"], 4),
            p["bytes"],
            round(p["times_smaller"], 2),
            None,
            round(p["times_fewer_macs"], 2),
            None,
            None,
            round(p["seconds"], 1),
        ]
        for seed, p in enumerate(pruned)
    ]
    print(
        record.write(
            "cifar_resnet",
            f"Uploaded ResNet-20, medians over {arguments.seeds} seeds",
            COLUMNS,
            rows,
            targets,
            seeds=arguments.seeds,
            time_budget_s=arguments.seconds,
            pruning_seconds=arguments.pruning_seconds,
            pruned=pruned,
            run_seconds=[r.seconds for r in results],
            peak_memory_bytes=max(r.peak_memory_bytes for r in results),
        ).read_text()
    )


if __name__ == "__main__":
    main()
