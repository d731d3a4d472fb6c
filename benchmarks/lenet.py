"""LeNet-5 of Deep Compression (conv 20 and 50 of 5x5, dense 500 and 10; 431 K parameters) on MNIST: the
smallest file.

Deep Compression (arXiv 1510.00149) stores it 39 times smaller at 0.74 % error. Here the bytes of the
entropy-coded file count; the decoder ships in the package, and the accuracy is that of the decoded file.
"""

import argparse

from benchmarks import record
from benchmarks.engine_run import BUILD, COLUMNS, MNIST, row, run, trained, uploaded

HOME = BUILD / "home-lenet"  # a workspace of its own, so that benchmarks do not queue behind each other

ERROR = 0.0080
DEEP_COMPRESSION = 39


def network():
    """Caffe's LeNet-5, with a ReLU after the dense layer of 500."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def main() -> None:
    """Trains the baseline (kept in build/), runs the hybrids, writes results/lenet.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=240, help="time budget of the run")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--drop", type=float, default=0.1, help="accuracy limit in pp that the search works with"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    file, _ = trained("lenet", network, "mnist", arguments.epochs, HOME, MNIST, 0.988)
    if arguments.train_only:
        return
    result = run(
        uploaded(file, MNIST),
        "mnist",
        "raspberry_pi_4",
        ["ptq_int8", "ptq_int4", "hybrid"],
        arguments.seconds,
        arguments.seed,
        arguments.drop,
        HOME,
    )
    found = {v.id: v for v in result.variants}
    base, small = found["baseline"], found["hybrid@smallest"]
    ratio, error = base.size_bytes / small.size_bytes, 1 - small.accuracy
    figure = f"{ratio:.0f} times at {100 * error:.2f} % error ({small.size_bytes:,} bytes)"
    met = error <= ERROR
    targets = [
        {
            "target": "baseline at 0.80 % error or less",
            "figure": f"{100 * (1 - base.accuracy):.2f} %",
            "met": 1 - base.accuracy <= ERROR,
        },
        {
            "target": f"{DEEP_COMPRESSION} times fewer bytes at 0.80 % error or less (Deep Compression)",
            "figure": figure,
            "met": met and ratio >= DEEP_COMPRESSION,
        },
        {"target": "goal: 100 times", "figure": figure, "met": met and ratio >= 100},
    ]
    print(
        record.write(
            "lenet",
            "LeNet-5 on MNIST, the smallest file",
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
