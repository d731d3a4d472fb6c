"""A network whose weights are in its convolutions: the shipped cifar10/pytorch/medium; hybrid 20 times
smaller at 1 pp.
"""

import argparse

from benchmarks import record
from benchmarks.engine_run import BUILD, COLUMNS, row, run
from engine.formats.inspect import inspect_model

HOME = (
    BUILD / "home-cifar_medium"
)  # a workspace of its own, so that benchmarks do not queue behind each other


def main() -> None:
    """Runs the hybrids, writes results/cifar_medium.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=900, help="time budget of the run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = run(
        inspect_model("cifar10/pytorch/medium"),
        "cifar10",
        "raspberry_pi_4",
        ["ptq_int8", "ptq_int4", "hybrid"],
        arguments.seconds,
        arguments.seed,
        1.0,
        HOME,
    )
    found = {v.id: v for v in result.variants}
    base = found["baseline"]
    best = max(
        (
            v
            for v in found.values()
            if v.technique == "hybrid" and v.status == "done" and v.accuracy_drop_pp <= 1.0
        ),
        key=lambda v: base.size_bytes / v.size_bytes,
        default=None,
    )
    ratio = base.size_bytes / best.size_bytes if best else 0
    targets = [
        {
            "target": "a hybrid at least 20 times smaller at 1 pp or less",
            "met": ratio >= 20,
            "figure": (
                f"{best.id}: {ratio:.1f} times at {best.accuracy_drop_pp:.2f} pp"
                if best
                else "none within 1 pp"
            ),
        }
    ]
    print(
        record.write(
            "cifar_medium",
            "cifar10/pytorch/medium, 1,000 lossless test images",
            COLUMNS,
            [row(v, base) for v in result.variants],
            targets,
            seed=arguments.seed,
            time_budget_s=arguments.seconds,
            run_seconds=result.seconds,
            peak_memory_bytes=result.peak_memory_bytes,
        ).read_text()
    )


if __name__ == "__main__":
    main()
