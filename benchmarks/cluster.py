"""A run whose techniques a Dask cluster makes, beside the same run alone: `python -m benchmarks.cluster`.

Scheduler, three workers and the host are all on this one machine, so nothing can be won: it shows that the
variants are the same, byte for byte, and what sending costs. Both runs take the same steps, as the second one
repeats the pace of the first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import record
from benchmarks.engine_run import BUILD, free_port, run
from engine.formats.inspect import inspect_model
from engine.run.plan import pace_path
from engine.store.files import read_json
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Pace, Run

ROOT = Path(__file__).resolve().parent.parent
HOME = BUILD / "home-cluster"
CASES = {  # model: techniques
    "digits/pytorch/small": tuple(TECHNIQUES),
    "digits/keras/small": ("ptq_int8", "fp16", "prune_structured", "hybrid"),
}
WORKERS = 3
START_S = 60.0
COLUMNS = ["model", "techniques", "variants", "same bytes", "alone s", "by the cluster s"]


@contextmanager
def cluster() -> Iterator[str]:
    """Starts a scheduler and workers, and yields the scheduler's address."""
    port = str(free_port())
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    with tempfile.TemporaryDirectory(prefix="edgewise-cluster-") as place, ExitStack() as stack:
        _start(stack, Path(place, "scheduler"), *scheduler)
        logs = [Path(place, f"worker-{number}") for number in range(WORKERS)]
        for log in logs:
            _start(stack, log, "engine", "worker", address)
        end = time.monotonic() + START_S
        while not all("At work for" in log.read_text() for log in logs):
            if time.monotonic() > end:
                raise SystemExit(f"The workers did not start:\n{logs[0].read_text()}")
            time.sleep(0.1)
        yield address


def _start(stack: ExitStack, log: Path, *words: str) -> None:
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=output, stderr=output)
    stack.callback(process.wait)
    stack.callback(process.terminate)


def files(done: Run) -> dict[str, tuple]:
    """Returns the hashes of each variant's files."""
    return {v.id: tuple((a.path, a.sha256) for a in v.artifacts) for v in done.variants if v.status == "done"}


def row(model: str, seconds: int) -> list:
    """Runs a model alone, then by the cluster; returns its row."""
    techniques, opened = list(CASES[model]), inspect_model(model)
    began = time.monotonic()
    alone = run(opened, "digits", "raspberry_pi_4", techniques, seconds, home=HOME)
    alone_s = time.monotonic() - began
    pace = Pace.model_validate(read_json(pace_path(Workspace(HOME).folder(alone.id))))
    with cluster() as address:
        os.environ["EDGEWISE_SCHEDULER"] = address
        try:
            began = time.monotonic()
            made = run(opened, "digits", "raspberry_pi_4", techniques, seconds, home=HOME, pace=pace)
            made_s = time.monotonic() - began
        finally:
            del os.environ["EDGEWISE_SCHEDULER"]
    ours, theirs = files(alone), files(made)
    same = sum(theirs.get(name) == found for name, found in ours.items())
    return [model, len(techniques), len(ours), same, round(alone_s, 1), round(made_s, 1)]


def main() -> None:
    """Runs the cases and writes results/cluster.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="time budget of each run")
    parser.add_argument("--models", nargs="+", default=list(CASES))
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    rows = [row(model, asked.seconds) for model in asked.models]
    made, same = sum(r[2] for r in rows), sum(r[3] for r in rows)
    targets = [{"target": "the same variants as alone", "figure": f"{same} of {made}", "met": same == made}]
    title = "A run alone, and by a cluster of three workers on the same machine"
    more = {"seed": 0, "load_before": round(before, 2)}
    print(record.write("cluster", title, COLUMNS, rows, targets, **more).read_text())


if __name__ == "__main__":
    main()
