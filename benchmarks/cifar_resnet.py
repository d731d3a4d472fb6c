"""An uploaded ResNet-20 (91.5 % on the 1,000 lossless CIFAR-10 test images): structured pruning, INT8 and INT4.

Medians over seeds, measured pairwise on the 1,000 test images; the uploaded network has seen every training image, so
those prove nothing. Needs EDGEWISE_DATA (cifar10.npz) and EDGEWISE_UPLOADS (akamaster's resnet20).
"""

import argparse
import os
from pathlib import Path
from statistics import median

from benchmarks import record
from benchmarks.engine_run import BUILD, COLUMNS, row, run
from engine import datasets
from engine.inspect import inspect_model

HOME = BUILD / "home-cifar_resnet"  # a workspace of its own, so that benchmarks do not queue behind each other

FILE = "pt_state_dict/akamaster__pytorch_resnet_cifar10__resnet20-12fca82f.th"
VARIANTS = ("ptq_int8", "qat_int8", "ptq_int4", "ptq_int4@mixed", "qat_int8@int4", "prune_structured@0.3", "prune_structured@0.3,iterative",
            "prune_structured@0.5,iterative")


def main() -> None:
    """Runs the engine once a seed, writes results/cifar_resnet.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=240, help="time budget of each run")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    datasets.prepare("cifar10", HOME)
    model = inspect_model(Path(os.environ["EDGEWISE_UPLOADS"]) / FILE, dataset="cifar10", home=HOME)
    results = [run(model, "cifar10", "raspberry_pi_4", ["ptq_int8", "ptq_int4", "qat_int8", "prune_structured"], arguments.seconds, seed, 1.5, HOME)
               for seed in range(arguments.seeds)]
    runs = [{v.id: v for v in result.variants} for result in results]
    drops = {name: median(found[name].accuracy_drop_pp for found in runs if found[name].status == "done") for name in VARIANTS
             if any(found[name].status == "done" for found in runs)}
    macs = {name: median(found["baseline"].macs / found[name].macs for found in runs if found[name].status == "done") for name in drops}
    half = min((name for name in drops if name.startswith("prune_structured") and macs[name] >= 2.0), key=drops.get, default=None)
    int8, int4 = min(("ptq_int8", "qat_int8"), key=drops.get), min(("ptq_int4", "qat_int8@int4"), key=drops.get)
    targets = [
        {"target": "structured: 2 times fewer MACs at 1.5 pp or less", "met": half is not None and drops[half] <= 1.5,
         "figure": f"{half}: {macs[half]:.2f} times at {drops[half]:.2f} pp" if half else "no variant reaches 2 times"},
        {"target": "INT8 at 0.3 pp or less", "figure": f"{int8}: {drops[int8]:.2f} pp", "met": drops[int8] <= 0.3},
        {"target": "INT4 at 1.0 pp or less", "figure": f"{int4}: {drops[int4]:.2f} pp", "met": drops[int4] <= 1.0}]
    rows = [["seed " + str(seed) + ": " + str(line[0]), *line[1:]] for seed, found in enumerate(runs) for line in (row(v, found["baseline"]) for v in found.values())]
    rows = [[f"median: {name}", None, drops[name], None, None, None, None, round(macs[name], 2), None, None, None] for name in drops] + rows
    print(record.write("cifar_resnet", f"Uploaded ResNet-20, medians over {arguments.seeds} seeds", COLUMNS, rows, targets,
                       seeds=arguments.seeds, time_budget_s=arguments.seconds, run_seconds=[r.seconds for r in results],
                       peak_memory_bytes=max(r.peak_memory_bytes for r in results)).read_text())


if __name__ == "__main__":
    main()
