"""Fifty visitors at once: `python -m benchmarks.sessions_50`.

Half of them ask the HTTP API, half open pages, for ten minutes, on a public host. They upload good files and
hostile ones, start runs, watch, cancel and delete them. Counted is what went wrong, whether anybody was shown
another's run, what the web process takes meanwhile and afterwards, and what is left of processes and files.
"""

import argparse
import io
import os
import pickle
import random
import statistics
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks import record
from benchmarks.app_footprint import server, wait_for_health, web_mb
from benchmarks.page_visitor import Visitor
from engine.client import Client, Silent
from engine.errors import EdgewiseError
from engine.run import jobs
from engine.store.workspace import ENDED, Workspace
from engine.wall.processes import resident_bytes

GOOD = Path(__file__).resolve().parent.parent / "models" / "weights" / "digits_pytorch_small.safetensors"
HOSTILE = 0.4  # of the files
MOST_MB, BACK = 350, 1.10
FORGOTTEN_S = 150  # Streamlit keeps the session of a tab that was closed for two minutes
SAMPLE_S = 0.2
DEFECT = ("An internal error", "The server answered with 5")
COLUMNS = ["what", "figure", "unit"]


class Tally:
    """What fifty threads found, under one lock."""

    def __init__(self) -> None:
        self.lock, self.owners = threading.Lock(), {}
        self.did, self.refused, self.errors, self.foreign = Counter(), Counter(), [], []
        self.asks_s, self.passes_s = [], []

    def count(self, what: str) -> None:
        """Counts one thing that somebody did."""
        with self.lock:
            self.did[what] += 1

    def owns(self, run: str, who: str) -> str:
        """Notes whose a run is, and returns its id."""
        with self.lock:
            self.owners[run] = who
        self.count("runs started")
        return run

    def heard(self, ids: set[str], who: str) -> None:
        """Notes every run of somebody else's among what somebody was sent."""
        with self.lock:
            self.foreign += [f"{who} heard of {i}" for i in ids if self.owners.get(i, who) != who]

    def timed(self, act: Callable, *given, **named):
        """Does one call to the API, and notes its seconds; a refusal is counted by its first words."""
        began = time.monotonic()
        try:
            return act(*given, **named)
        finally:
            with self.lock:
                self.asks_s.append(time.monotonic() - began)

    def failed(self, who: str, doing: str, error: Exception) -> None:
        """Notes a refusal as one, and everything else as an error."""
        text = str(error)
        if isinstance(error, EdgewiseError) and not isinstance(error, Silent) and not text.startswith(DEFECT):
            with self.lock:
                self.refused[" ".join(text.split()[:6])] += 1
            return
        with self.lock:
            self.errors.append(f"{who}, {doing}: {type(error).__name__}: {text[:300]}")
        print(self.errors[-1], flush=True)


# ---- files -------------------------------------------------------------------------------------------------


class _Evil:
    def __init__(self, word: str):
        self.word = word

    def __reduce__(self):
        return os.system, (f"touch hacked-{self.word}",)


def hostile(dice: random.Random) -> bytes:
    """Returns a bad model file that nobody has sent yet."""
    word = f"{dice.getrandbits(64):x}"
    made = (
        lambda: pickle.dumps({"weight": _Evil(word)}),
        lambda: GOOD.read_bytes()[: dice.randrange(100, 900_000)],
        lambda: dice.randbytes(dice.randrange(1, 50_000)),
        lambda: (2**40).to_bytes(8, "little") + word.encode(),
        lambda: bomb(word),
    )
    return dice.choice(made)()


def bomb(word: str) -> bytes:
    """Returns a small ZIP of class folders that unpacks to 200 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"cats/{word}.png", bytes(100_000_000))
        archive.writestr(f"dogs/{word}.png", bytes(100_000_000))
    return out.getvalue()


# ---- visitors ----------------------------------------------------------------------------------------------


def by_api(address: str, who: str, dice: random.Random, tally: Tally, is_hostile: bool) -> None:
    """Uploads, starts a run, watches it for a while, stops or deletes it: one visit of a program."""
    client = Client(address, key_of(who))
    if is_hostile:
        tally.count("hostile files")
        tally.timed(_ask_with, client, hostile(dice), dice.choice(("model", "dataset")))
        raise AssertionError("A hostile file was taken.")
    sha256 = tally.timed(_sent, client, GOOD.read_bytes(), "model")
    run = tally.timed(
        client.start, model=sha256, dataset="digits", device="raspberry_pi_4", techniques=["fp16"]
    )
    tally.owns(run.id, who)
    until = time.monotonic() + dice.uniform(5, 60)
    while (found := tally.timed(client.run, run.id)).state not in ENDED and time.monotonic() < until:
        time.sleep(dice.uniform(0.5, 3))
    if found.state == "done":
        tally.timed(client.recommendation, run.id)
        tally.timed(client.report, run.id)
        tally.count("runs seen to their end")
    else:
        tally.timed(client.stop, run.id)
        tally.count("runs cancelled")
    tally.heard({one["id"] for one in tally.timed(client.runs)}, who)
    if dice.random() < 0.5:
        tally.timed(client.delete, run.id)
        tally.count("runs deleted")


def key_of(who: str) -> str:
    """Returns a visitor's key for the API."""
    return f"key of {who}"


def _sent(client: Client, data: bytes, kind: str) -> str:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return client.upload(Path(file.name), kind)


def _ask_with(client: Client, data: bytes, kind: str) -> None:
    named = {"model": "digits/pytorch/small", "dataset": "digits"} | {kind: _sent(client, data, kind)}
    client.start(**named, device="raspberry_pi_4", techniques=["fp16"])


def by_page(address: str, who: str, dice: random.Random, tally: Tally, is_hostile: bool) -> None:
    """Opens home, uploads a file, starts a run, watches it for a while, cancels or compares: one visit."""
    visitor = Visitor(address)
    try:
        _visit(visitor, who, dice, tally, is_hostile)
    finally:
        visitor.close()
        tally.heard(visitor.heard, who)
        with tally.lock:
            tally.passes_s += visitor.passes


def _visit(visitor: Visitor, who: str, dice: random.Random, tally: Tally, is_hostile: bool) -> None:
    visitor.open("")
    visitor.open("upload")
    visitor.pick("Where the model comes from", "My file")
    visitor.upload("Model file", "model.bin", hostile(dice) if is_hostile else GOOD.read_bytes())
    _sound(visitor)
    if is_hostile:
        tally.count("hostile files")
        raise EdgewiseError(visitor.texts("alert")[0])  # no sentence would be an error
    visitor.open("configure", "model=digits/pytorch/small&dataset=digits")
    visitor.check_only("FP16")
    visitor.click("Start the run")
    run = visitor.run_in_url()
    if not run:
        raise EdgewiseError(visitor.texts("alert")[0])
    tally.owns(run, who)
    until = time.monotonic() + dice.uniform(5, 60)
    while visitor.sees("button", "Cancel") and time.monotonic() < until:
        time.sleep(dice.uniform(1, 3))
        visitor.look()
        _sound(visitor)
    if visitor.sees("button", "Compare"):
        for page in ("compare", "deploy"):
            visitor.open(page, f"run={run}")
            _sound(visitor)
        tally.count("runs seen to their end")
    elif visitor.sees("button", "Cancel"):
        _cancel(visitor, tally)
    visitor.open("experiments")
    _sound(visitor)
    if dice.random() < 0.5 and visitor.sees("button", "Delete"):
        visitor.click("Delete")
        visitor.click("Delete it")
        tally.count("runs deleted")
    _sound(visitor)


def _cancel(visitor: Visitor, tally: Tally) -> None:
    visitor.click("Cancel")
    if visitor.sees("button", "Cancel the run"):  # else it ended meanwhile
        visitor.click("Cancel the run")
        tally.count("runs cancelled")


def _sound(visitor: Visitor) -> None:
    if broken := visitor.texts("exception"):
        raise AssertionError(f"A page broke: {broken[0]}")


# ---- the measurement ---------------------------------------------------------------------------------------


def visits(address: str, number: int, until: float, seed: int, tally: Tally) -> None:
    """Comes again and again until the time is over; every second visitor is a program."""
    dice, who = random.Random(f"{seed}-{number}"), f"visitor {number}"
    act = by_api if number % 2 else by_page
    time.sleep(dice.uniform(0, 10))
    while time.monotonic() < until:
        tally.count(f"visits {act.__name__.replace('_', ' ')}")
        try:
            act(address, who, dice, tally, dice.random() < HOSTILE)
        except Exception as error:  # what goes wrong is the figure
            tally.failed(who, act.__name__, error)
        time.sleep(dice.uniform(0.5, 3))


def left(home: Path, temporary: Path, server_pid: int) -> tuple[list[str], list[str]]:
    """Returns what still runs in this workspace besides the server, and files that somebody forgot."""
    running = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            if process.pid != server_pid and process.environ().get("EDGEWISE_HOME") == str(home):
                running.append(" ".join(process.info["cmdline"] or ["?"]))
        except psutil.Error:
            continue
    drafts = [*home.glob("runs/.draft-*"), *home.rglob(".*.*-*")]
    return running, [str(p.name) for p in (*temporary.iterdir(), *drafts)]


def warm(address: str, tally: Tally) -> None:
    """Lets one visitor of each kind see everything once, so that all that is loaded once is loaded."""
    for act in (by_api, by_page):
        act(address, "the first", random.Random(0), tally, is_hostile=False)


def main() -> None:
    """Measures and writes results/sessions_50.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tally, samples, all_of_it, ended = Tally(), [], [], threading.Event()
    with tempfile.TemporaryDirectory(prefix="edgewise-sessions-") as folder:
        home, temporary = Path(folder, "home"), Path(folder, "tmp")
        temporary.mkdir()
        keys = ",".join(map(key_of, ["the first", *(f"visitor {n}" for n in range(given.sessions))]))
        public = {"EDGEWISE_PUBLIC": "1", "EDGEWISE_VISITOR_KEYS": keys, "TMPDIR": str(temporary)}
        with server(home, **public) as (address, process):
            wait_for_health(address)
            warm(address, tally)
            before = web_mb(process)

            def watch() -> None:
                while not ended.wait(SAMPLE_S):
                    samples.append(web_mb(process))
                    all_of_it.append(resident_bytes(process.pid) / 1e6)

            threading.Thread(target=watch, daemon=True).start()
            until = time.monotonic() + 60 * given.minutes
            threads = [
                threading.Thread(target=visits, args=(address, number, until, given.seed, tally))
                for number in range(given.sessions)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            states = drained(Workspace(home))
            time.sleep(FORGOTTEN_S)
            after = web_mb(process)
            ended.set()
            alive = process.poll() is None
            processes, files = left(home, temporary, process.pid)
    report(given, tally, (before, max(samples), after, max(all_of_it)), states, (processes, files), alive)


def drained(workspace: Workspace) -> Counter:
    """Waits until no run is at work, and returns how the runs ended."""
    while rows := [row for row in workspace.runs() if row["state"] not in ENDED]:
        jobs.cancel(rows[0]["id"], workspace) if rows[0]["state"] == "queued" else time.sleep(0.5)
    return Counter(row["state"] for row in workspace.runs())


def report(given, tally: Tally, memory: tuple, states: Counter, forgotten: tuple, alive: bool) -> None:
    """Writes the table and whether each target is met."""
    before, peak, after, most = memory
    processes, files = forgotten

    def late(seconds: list[float]) -> float:
        return statistics.quantiles(seconds, n=20)[-1]

    rows = [
        *([what, count, ""] for what, count in sorted(tally.did.items())),
        ["refused in one sentence", sum(tally.refused.values()), ""],
        *([f"runs that are {state} at the end, deleted ones left out", n, ""] for state, n in states.items()),
        ["a call to the API, median", round(statistics.median(tally.asks_s), 3), "s"],
        ["a call to the API, 95th percentile", round(late(tally.asks_s), 3), "s"],
        ["a pass of a page, median", round(statistics.median(tally.passes_s), 3), "s"],
        ["a pass of a page, 95th percentile", round(late(tally.passes_s), 3), "s"],
        ["web process before, every page opened once", round(before, 1), "MB"],
        ["web process, most", round(peak, 1), "MB"],
        ["server and all that it started, most", round(most), "MB"],
        [f"web process {FORGOTTEN_S} s after the last visitor", round(after, 1), "MB"],
    ]
    targets = [
        _target("no error", len(tally.errors) + (not alive), 0),
        _target("none is shown another's run", len(tally.foreign), 0),
        _target(f"web process ≤ {MOST_MB} MB", round(peak), MOST_MB, " MB"),
        _target("afterwards within 10 % of before", round(after / before, 3), BACK, " of it"),
        _target("no process left", len(processes), 0),
        _target("no temporary file left", len(files), 0),
        _target("no run failed", states["failed"], 0),
    ]
    path = record.write(
        "sessions_50",
        f"{given.sessions} visitors at once for {given.minutes:g} minutes",
        COLUMNS,
        rows,
        targets,
        seed=given.seed,
        errors=tally.errors[:50],
        refused=dict(tally.refused.most_common(30)),
        left={"processes": processes, "files": files, "foreign": tally.foreign[:20]},
    )
    print(path.read_text(), tally.refused, processes, files, sep="\n")


def _target(target: str, figure: float, most: float, unit: str = "") -> dict:
    return {"target": target, "figure": f"{figure:g}{unit}", "met": figure <= most}


if __name__ == "__main__":
    main()
