"""How long the list of 10,000 runs takes: the workspace's, the experiments page, and a search typed there.

`python -m benchmarks.history_10k`: the runs are written as asking for one writes it. The page is drawn in
this process, with no browser and no network: opened anew each time, and searched where it is open.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from streamlit.testing.v1 import AppTest

from benchmarks import record
from engine.formats.inspect import inspect_model
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment
from estimator.devices import all_devices

ROOT = Path(__file__).resolve().parent.parent
REPEATS, MOST_MS = 9, 500
SEARCHED = ("raspberry digits", "jetson", "small queued")
COLUMNS = ["what", "runs", "median ms", "slowest ms"]


def written(workspace: Workspace, runs: int) -> None:
    """Writes so many runs on different devices."""
    model, devices = inspect_model("digits/pytorch/small"), list(all_devices())
    for number in range(runs):
        device = devices[number % len(devices)]
        asked = Experiment(model=model, dataset="digits", device=device, techniques=list(TECHNIQUES))
        workspace.create(asked)
        if number % 1000 == 0:
            print(f"{number} runs are written", flush=True)


def timed(what: str, runs: int, call: Callable[[], object]) -> list:
    """Returns a table row: the median and the slowest of some calls, the first one left out."""
    call()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return [what, runs, round(statistics.median(times), 1), round(max(times), 1)]


def page(home: Path) -> AppTest:
    """Draws the experiments page; raises SystemExit where it fails."""
    os.environ["EDGEWISE_HOME"] = str(home)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/experiments.py").run()
    if app.exception:
        raise SystemExit(str(app.exception[0].message))
    return app


def searching(app: AppTest) -> Callable[[], object]:
    """Returns what types another search into the open page."""
    words = cycle(SEARCHED)
    return lambda: app.text_input(key="find").set_value(next(words)).run()


def main() -> None:
    """Writes the runs, times and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="edgewise-history-") as folder:
        workspace = Workspace(folder)
        began = time.perf_counter()
        written(workspace, runs)
        each_ms = 1000 * (time.perf_counter() - began) / runs
        rows = [
            ["writing one", runs, round(each_ms, 2), None],
            timed("listing all", runs, workspace.runs),
            timed("opening the experiments page", runs, lambda: page(Path(folder))),
            timed("a search typed on the open page", runs, searching(page(Path(folder)))),
        ]
    met = [
        {
            "target": f"{row[1]:,} runs, {row[0]}: ≤ {MOST_MS} ms",
            "figure": f"{row[2]} ms",
            "met": row[2] <= MOST_MS,
        }
        for row in (rows[1], rows[3])
    ]
    title = f"A history of {runs:,} runs (load {load:.1f} before)"
    print(record.write("history_10k", title, COLUMNS, rows, met, load_before=round(load, 2)).read_text())


if __name__ == "__main__":
    main()
