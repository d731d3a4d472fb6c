"""What the dashboard takes: the web process's memory idle and with a finished run open, a run's process tree
at its
peak, and the seconds from start to the first page in a real Chromium: `python -m benchmarks.app_footprint`.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks import record
from benchmarks.engine_run import free_port
from engine import events
from engine.formats.inspect import inspect_model
from engine.run import jobs
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment
from engine.wall.processes import resident_bytes

ROOT = Path(__file__).resolve().parent.parent
IDLE_MB, FIRST_PAGE_S = 250, 3.0
RUN_MB = {"pytorch": 1000, "keras": 1600}
RUN_S = 180  # the demo's PyTorch part, after the installation
SETTLE_S = 3.0  # after it, a page's figures no longer move
COLUMNS = ["what", "figure", "unit"]


@contextmanager
def server(home: Path, **environment: str):
    """Starts the house's door as `make app` does; yields its address and process."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            "server.py",
            "--server.headless",
            "true",
            "--server.address",
            "127.0.0.1",
            "--server.port",
            str(port),
        ],
        cwd=ROOT,
        env=os.environ | environment | {"EDGEWISE_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


def web_mb(process: subprocess.Popen) -> float:
    """Returns the web process's own resident memory, the runs it started left out."""
    return psutil.Process(process.pid).memory_info().rss / 1e6


def open_when_up(page, url: str, process: subprocess.Popen) -> None:
    """Opens a page as soon as the server answers."""
    from playwright.sync_api import Error

    while True:
        try:
            page.goto(url)
            return
        except Error:
            if process.poll() is not None:
                raise SystemExit("The server ended before it answered.") from None
            time.sleep(0.02)


def first_page(browser, home: Path) -> tuple[float, float, float]:
    """Returns seconds from start to the home page's first button, and MB before and with that page open."""
    page = browser.new_page()
    with server(home) as (url, process):
        began = time.perf_counter()
        open_when_up(page, url, process)
        page.get_by_role("button", name="Try the bundled example").wait_for()
        seconds = time.perf_counter() - began
        time.sleep(SETTLE_S)
        opened = web_mb(process)
        page.close()
    with server(home) as (url, process):
        wait_for_health(url)
        return seconds, web_mb(process), opened


def wait_for_health(url: str, settle_s: float = SETTLE_S, well: bool = True) -> None:
    """Waits until the server says that it is well, or, where it can't be, until it says so."""
    import urllib.error
    import urllib.request

    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            time.sleep(settle_s)
            return
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and not well:
                return
            time.sleep(0.1)
    raise SystemExit("The server did not answer within 30 s.")


def run_with_watch(model: str, home: Path, seconds: int, seed: int) -> tuple[str, float, float]:
    """Runs every technique; returns the run's id, its process tree's peak in MB as seen from outside, and its
    seconds.
    """
    workspace = Workspace(home)
    experiment = Experiment(
        model=inspect_model(model),
        dataset="digits",
        device="raspberry_pi_4",
        techniques=list(TECHNIQUES),
        time_budget_s=seconds,
        seed=seed,
    )
    run_id, peak, ended = jobs.start(experiment, workspace), [0], threading.Event()
    worker = next(e.pid for e in workspace.events(run_id) if isinstance(e, events.ProcessStarted))

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], resident_bytes(worker))

    watcher = threading.Thread(target=watch)
    watcher.start()
    jobs.wait(
        run_id,
        workspace,
        lambda e: (
            print(f"  {e.technique}: {e.status}", flush=True) if isinstance(e, events.LineChanged) else None
        ),
    )
    ended.set()
    watcher.join()
    run = workspace.run(run_id)
    if run.state != "done":
        raise SystemExit(f"The run {run.state}: {run.reason}")
    return run_id, peak[0] / 1e6, run.seconds


def with_run_open(browser, home: Path, run_id: str) -> dict[str, float]:
    """Returns the web process's MB with a finished run on each of its pages, opened one after the other in
    one session.
    """
    found, page = {}, browser.new_page()
    with server(home) as (url, process):
        wait_for_health(url)
        for name, sign in (
            ("run", "Watch the run"),
            ("compare", "Compare variants"),
            ("deploy", "Take it to the device"),
        ):
            page.goto(f"{url}/{name}?run={run_id}")
            page.get_by_role("heading", name=sign).first.wait_for()
            time.sleep(SETTLE_S)
            found[name] = web_mb(process)
        page.close()
    return found


def main() -> None:
    """Measures and writes results/app_footprint.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models",
        default="digits/pytorch/small",
        help="shipped models that are run, comma-separated; the first one's run is opened",
    )
    parser.add_argument("--seconds", type=int, default=30, help="time budget of each run")
    parser.add_argument("--starts", type=int, default=5, help="starts of the server; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit(
            "This benchmark opens pages in Chromium, and there is none: install it (apt-get install"
            " chromium)."
        )
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="edgewise-footprint-") as folder, sync_playwright() as playwright:
        home, browser = (
            Path(folder),
            playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]),
        )
        starts = [first_page(browser, home) for _ in range(arguments.starts)]
        runs = {
            model: run_with_watch(model, home, arguments.seconds, arguments.seed)
            for model in arguments.models.split(",")
        }
        opened = with_run_open(browser, home, next(iter(runs.values()))[0])
        browser.close()
    report(starts, runs, opened, arguments)


def run_target(model: str, peak_mb: float) -> dict:
    """Compares the peak of a run's process tree with what its framework may take."""
    allowed = RUN_MB[model.split("/")[1]]
    return {
        "target": f"{model}: the run's process tree ≤ {allowed / 1000:.1f} GB",
        "figure": f"{peak_mb / 1000:.2f} GB",
        "met": peak_mb <= allowed,
    }


def report(
    starts: list[tuple], runs: dict[str, tuple], opened: dict[str, float], arguments: argparse.Namespace
) -> None:
    """Writes the table and whether each target is met."""
    seconds, idle, home_page = (statistics.median(column) for column in zip(*starts, strict=True))
    rows = [
        ["web process, nobody connected", round(idle, 1), "MB"],
        ["web process, home page open", round(home_page, 1), "MB"],
        *([f"web process, {page} page of a finished run", round(mb, 1), "MB"] for page, mb in opened.items()),
        *(
            [f"run of {model}: process tree at its peak", round(mb, 1), "MB"]
            for model, (_, mb, _) in runs.items()
        ),
        *(
            [f"run of {model}: all techniques, budget {arguments.seconds} s", round(took, 1), "s"]
            for model, (_, _, took) in runs.items()
        ),
        [f"start to first page, median of {len(starts)}", round(seconds, 2), "s"],
    ]
    largest = max(opened.values())
    targets = [
        {
            "target": f"web process with a finished run open ≤ {IDLE_MB} MB",
            "figure": f"{largest:.0f} MB",
            "met": largest <= IDLE_MB,
        },
        *(run_target(model, mb) for model, (_, mb, _) in runs.items()),
        *(
            {
                "target": f"{model}, all techniques, as in make demo ≤ {RUN_S} s",
                "figure": f"{took:.0f} s",
                "met": took <= RUN_S,
            }
            for model, (_, _, took) in runs.items()
            if "/pytorch/" in model
        ),
        {
            "target": f"first page ≤ {FIRST_PAGE_S:.0f} s after start",
            "figure": f"{seconds:.2f} s",
            "met": seconds <= FIRST_PAGE_S,
        },
    ]
    path = record.write(
        "app_footprint",
        "What the dashboard takes",
        COLUMNS,
        rows,
        targets,
        seed=arguments.seed,
        starts_s=[round(s, 2) for s, _, _ in starts],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
