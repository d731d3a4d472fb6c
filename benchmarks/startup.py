"""How long a run on a small model takes, and until its first variant: `python -m benchmarks.startup`.

Digits, in PyTorch and in Keras, with the four techniques that need no training, from the command line to the
final table, each time in an empty home. `--baseline DIR` runs another checkout in turn with this one, so that
both see the same machine at the same time. A checkout with a `.venv` of its own is run in that, as its pins
may be others:

    git worktree add ../before 0f82de2 && python -m benchmarks.startup --baseline ../before
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import record

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("digits/pytorch/small", "digits/keras/small")
TECHNIQUES = "ptq_int8,ptq_int4,fp16,dynamic_int8"
LOOK_S = 0.02
FIRST_S, SHARE = 4.0, 1 / 3  # the targets: the first variant, and the seconds as a share of the baseline's
COLUMNS = ["model", "checkout", "seconds", "fastest", "slowest", "first variant s", "variants", "runs"]


def timed(checkout: Path, model: str) -> tuple[float, float, int]:
    """Runs one experiment and returns the seconds to its end, the seconds until the measured baseline is on
    disk, and how many variants are done. Raises SystemExit where the run fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgewise-startup-") as folder:
        home, output = Path(folder, "home"), Path(folder, "output")
        words = ["optimize", model, "--dataset", "digits", "--device", "raspberry_pi_4"]
        words += ["--techniques", TECHNIQUES, "--output", str(output)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        own = checkout / ".venv" / "bin" / "python"
        began, first = time.monotonic(), None
        process = subprocess.Popen(
            [str(own) if own.exists() else sys.executable, "-m", "engine", *words],
            cwd=checkout,
            env=environment | {"EDGEWISE_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        while process.poll() is None:
            if first is None and is_measured(home):
                first = time.monotonic() - began
            time.sleep(LOOK_S)
        seconds = time.monotonic() - began
        if process.returncode != 0 or first is None:
            raise SystemExit(f"{model} in {checkout} failed:\n{process.stderr.read().decode()[-2000:]}")
        run = json.loads((output / "run.json").read_text())
        return seconds, first, sum(v["status"] == "done" for v in run["variants"])


def is_measured(home: Path) -> bool:
    """Tells whether the baseline of the one run in this home has been measured."""
    for path in home.glob("runs/*/variants/baseline.json"):
        try:
            return json.loads(path.read_text())["accuracy"] is not None
        except (OSError, ValueError):
            return False
    return False


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", type=Path, help="another checkout, timed in turn with this one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=MODELS)
    asked = parser.parse_args()
    checkouts = {"this": ROOT} | ({"baseline": asked.baseline.resolve()} if asked.baseline else {})
    found: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for number in range(asked.repeats):
        for model in asked.models:
            for name, checkout in checkouts.items():
                figures = timed(checkout, model)
                found.setdefault((model, name), []).append(figures)
                print(
                    f"{number + 1}: {model} {name} {figures[0]:.1f} s, first {figures[1]:.1f} s", flush=True
                )
    rows = [row(model, name, figures) for (model, name), figures in found.items()]
    more = {
        "seconds": {f"{model} {name}": [f[0] for f in figures] for (model, name), figures in found.items()}
    }
    title = f"A run on digits with {TECHNIQUES}, from start to final table"
    print(record.write("startup", title, COLUMNS, rows, targets(rows), **more).read_text())


def row(model: str, name: str, figures: list[tuple[float, float, int]]) -> list:
    """Returns a row of the table: medians, and the extremes of the seconds."""
    seconds, first, variants = zip(*figures, strict=True)
    return [
        model,
        name,
        round(statistics.median(seconds), 2),
        round(min(seconds), 2),
        round(max(seconds), 2),
        round(statistics.median(first), 2),
        min(variants),
        len(seconds),
    ]


def targets(rows: list[list]) -> list[dict]:
    """Compares this checkout's medians with the targets."""
    median = {(model, name): (seconds, first) for model, name, seconds, _, _, first, *_ in rows}
    found = []
    for (model, name), (seconds, first) in median.items():
        if name != "this":
            continue
        found.append(
            {
                "target": f"{model}: first variant within {FIRST_S:g} s",
                "figure": f"{first:.1f} s",
                "met": first <= FIRST_S,
            }
        )
        if (model, "baseline") in median:
            share = seconds / median[model, "baseline"][0]
            found.append(
                {
                    "target": f"{model}: at most a third of the baseline's seconds",
                    "figure": f"{share:.2f}",
                    "met": share <= SHARE,
                }
            )
    return found


if __name__ == "__main__":
    main()
