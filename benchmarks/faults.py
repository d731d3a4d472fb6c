"""What a kill -9, a full disk, a read-only workspace and a clock that jumps do to runs:
`python -m benchmarks.faults`.

Server, worker and children are killed at random moments, 20 times each. Held is that no variant that was
finished is lost or changed, and that the run goes on to its end or says why not. The disk is a file system of
its own in memory, which only root may mount. The clock is Python's, in the worker and in what looks at the
run: the machine's own is not touched.
"""

import argparse
import hashlib
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks import record
from benchmarks.app_footprint import ROOT, server, wait_for_health
from benchmarks.page_visitor import Visitor
from engine.client import Client
from engine.errors import EdgewiseError
from engine.events import ProcessStarted
from engine.formats.inspect import inspect_model
from engine.run import jobs
from engine.store.workspace import ENDED, Workspace
from engine.vocabulary import Experiment

ASKED = {"dataset": "digits", "device": "raspberry_pi_4", "techniques": ["ptq_int8", "fp16"]}
MODEL = "digits/pytorch/small"
LONGEST_S = 180.0  # a run that has not ended by then hangs
DISK_MB = 200
DAY_S = 86_400
JUMPS = (DAY_S, -DAY_S)
UPLOAD_BYTES = 40_000_000
COLUMNS = ["fault", "times", "went on to the end", "said why not", "finished variants lost", "anything else"]
CLOCK = """
import os, time
_now, _path = time.time, os.environ["BENCHMARK_CLOCK"]
def _jumped():
    with open(_path) as file:
        return float(file.read() or 0)
time.time = lambda: _now() + _jumped()
import psutil._pslinux as _system
_booted = _system.boot_time  # the kernel counts it back from its clock, so that it jumps too
_system.boot_time = lambda: _booted() + _jumped()
"""


class Row:
    """What one kind of fault did."""

    def __init__(self, fault: str):
        self.fault, self.times, self.done, self.said = fault, 0, 0, 0
        self.lost: list[str] = []
        self.wrong: list[str] = []
        self.notes: list[str] = []

    def judge(self, workspace: Workspace, run: str, before: dict[str, str]) -> None:
        """Holds the end of a run against what was finished before the fault."""
        self.times += 1
        state, now = workspace.state(run), finished(workspace, run)
        self.lost += [variant for variant, sha in before.items() if now.get(variant) != sha]
        self.done += state == "done"
        reason = workspace.run(run).reason
        unmade = [v for v in workspace.variants(run) if v.status != "done"]
        if (state == "failed" and reason) or any(v.reason for v in unmade):
            self.said += 1
        if state not in ("done", "failed") or (state == "failed" and not reason):
            self.wrong.append(f"a run is {state}: {reason}")
        if "internal error" in reason.lower() or any("nternal error" in v.reason for v in unmade):
            self.wrong.append(f"a defect: {reason} {[v.reason for v in unmade]}"[:300])

    def cells(self) -> list:
        """Returns the row of the table."""
        return [
            self.fault,
            self.times,
            self.done,
            self.said,
            len(self.lost),
            "; ".join(dict.fromkeys(self.wrong + self.notes)),
        ]


# ---- runs --------------------------------------------------------------------------------------------------


def started(workspace: Workspace) -> str:
    """Starts the run of all these faults, from this process as a front."""
    return jobs.start(Experiment(model=inspect_model(MODEL), time_budget_s=10, **ASKED), workspace)


def finished(workspace: Workspace, run: str) -> dict[str, str]:
    """Returns the sum of the file of each variant that is done, "" where it is gone."""
    found = {}
    for variant in workspace.variants(run):
        if variant.status == "done" and variant.artifacts:
            path = workspace.folder(run) / variant.artifacts[0].path
            found[variant.id] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
    return found


def ended(workspace: Workspace, run: str, row: Row, look: bool = True) -> None:
    """Waits until a run has ended; looks after the queue meanwhile as a page does, where that is asked."""
    until = time.monotonic() + LONGEST_S
    while workspace.state(run) not in ENDED:
        if time.monotonic() > until:
            row.wrong.append(f"a run has not ended in {LONGEST_S:.0f} s")
            jobs.cancel(run, workspace)
            return
        if look:
            jobs.tick(workspace)
        time.sleep(0.1)


def worker_of(workspace: Workspace, run: str) -> int:
    """Returns the process of a run's latest worker."""
    found = [e.pid for e in workspace.events(run) if isinstance(e, ProcessStarted) and e.what == "worker"]
    return found[-1]


# ---- kills -------------------------------------------------------------------------------------------------


def usual_s(workspace: Workspace, row: Row) -> float:
    """Returns how long a run takes here and now, so that any moment of one can be hit."""
    began, run = time.monotonic(), started(workspace)
    ended(workspace, run, row)
    return time.monotonic() - began


def at_any_moment(
    times: int, dice: random.Random, workspace: Workspace, row: Row, before: Callable[[], object] = str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields runs at a random moment of each, with what is finished of them. before: called before one
    starts.
    """
    usual = usual_s(workspace, row)
    for _ in range(times):
        before()
        run = started(workspace)
        time.sleep(dice.uniform(0, usual))
        yield run, finished(workspace, run)


def server_killed(times: int, dice: random.Random, home: Path) -> Row:
    """Kills the server while a run is at work and a file is on its way; starts it again."""
    row, data, folder = Row("kill -9 of the server"), os.urandom(UPLOAD_BYTES), home / "given"
    workspace = Workspace(home)
    folder.mkdir()
    usual = usual_s(workspace, row)
    for number in range(times):
        (folder / "model").write_bytes(number.to_bytes(8, "little") + data)
        with server(home) as (address, process):
            wait_for_health(address, 0)
            client = Client(address)
            run = client.start(model=MODEL, **ASKED).id
            sending = threading.Thread(target=_sent, args=(client, folder / "model"))
            time.sleep(dice.uniform(0, usual))
            sending.start()
            time.sleep(dice.uniform(0, 0.5))
            before = finished(workspace, run)
            process.kill()
            sending.join()
        with server(home) as (address, process):
            wait_for_health(address, 0)
            ended(workspace, run, row, look=False)
            row.judge(workspace, run, before)
            try:
                Client(address).upload(folder / "model", "model")
            except EdgewiseError as error:
                row.wrong.append(f"an upload does not go on: {error}")
    return row


def _sent(client: Client, path: Path) -> None:
    try:
        client.upload(path, "model")
    except EdgewiseError:
        return  # the server was killed


def worker_killed(times: int, dice: random.Random, home: Path) -> Row:
    """Kills a run's worker; who looks at the run next has it resumed."""
    row, workspace = Row("kill -9 of the worker"), Workspace(home)
    for run, before in at_any_moment(times, dice, workspace, row):
        _kill(worker_of(workspace, run))
        ended(workspace, run, row)
        row.judge(workspace, run, before)
    return row


def child_killed(times: int, dice: random.Random, home: Path) -> Row:
    """Kills any of a worker's children, the idle ones that others are forked from among them."""
    row, workspace = Row("kill -9 of a child"), Workspace(home)
    for run, before in at_any_moment(times, dice, workspace, row):
        try:
            children = psutil.Process(worker_of(workspace, run)).children(recursive=True)
            _kill(dice.choice(children).pid)
        except (psutil.Error, IndexError):
            row.notes.append("some came when there was none")
        ended(workspace, run, row)
        row.judge(workspace, run, before)
    return row


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended a moment before


# ---- disks -------------------------------------------------------------------------------------------------


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """Mounts a small file system; raises PermissionError where that is not allowed."""
    folder.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if subprocess.run(asked, capture_output=True).returncode:
        raise PermissionError("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_full(times: int, dice: random.Random, home: Path) -> Row:
    """Fills the disk while a run is at work, asks for another run, frees it again and goes on."""
    row, workspace, filler = Row("the disk is full for 5 s"), Workspace(home), home / "filler"
    for run, before in at_any_moment(times, dice, workspace, row):
        _fill(filler)
        refuses(row, "disk is full", lambda: started(workspace))
        time.sleep(5)
        filler.unlink()
        went_on(workspace, run, row, before)
    return row


def _fill(path: Path) -> None:
    try:
        with open(path, "wb", buffering=0) as file:
            while file.write(bytes(65_536)):
                pass
    except OSError:
        return  # full


def disk_read_only(times: int, dice: random.Random, home: Path) -> Row:
    """Kills a worker (a disk with files that are being written can't be made read-only), makes the workspace
    read-only, asks every front, then makes it writable.
    """
    row, workspace = Row("the workspace is read-only for a while after a kill"), Workspace(home)
    for run, before in at_any_moment(times, dice, workspace, row):
        _kill(worker_of(workspace, run))
        _remount(home, "ro")
        refuses(row, "can't be written", lambda: started(workspace))
        command_refuses(row, home)
        pages_refuse(row, home)
        _remount(home, "rw")
        went_on(workspace, run, row, before)
    return row


def _remount(home: Path, how: str) -> None:
    """Makes a disk read-only or writable, once those that wrote to it have ended."""
    for _ in range(50):
        if not subprocess.run(["mount", "-o", f"remount,{how}", str(home)], capture_output=True).returncode:
            return
        time.sleep(0.1)
    raise SystemExit(f"{home.name} is still written to.")


def went_on(workspace: Workspace, run: str, row: Row, before: dict[str, str]) -> None:
    """Goes on with a run, as its page offers, and holds what came of it against what was finished."""
    ended(workspace, run, row)
    if workspace.state(run) == "failed":
        row.said += 1
        jobs.resume(run, workspace)
        ended(workspace, run, row)
    row.judge(workspace, run, before)


def refuses(row: Row, word: str, ask: Callable[[], object]) -> None:
    """Notes where something that can't work is not refused in a sentence that says why."""
    try:
        ask()
    except EdgewiseError as error:
        if word not in str(error):
            row.wrong.append(f"says: {error}")
    except Exception as error:
        row.wrong.append(f"breaks: {type(error).__name__}: {error}")
    else:
        row.wrong.append("is not refused")


def command_refuses(row: Row, home: Path) -> None:
    """Notes where the command line says more, or less, than one sentence."""
    words = [sys.executable, "-m", "engine", "optimize", MODEL, "--dataset", "digits"]
    words += ["--device", "raspberry_pi_4", "--techniques", "fp16"]
    environment = os.environ | {"EDGEWISE_HOME": str(home)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (1, 2) or "can't be written" not in done.stderr or "Traceback" in done.stderr:
        row.wrong.append(f"the command line: {done.returncode}, {done.stderr[-200:]}")


def pages_refuse(row: Row, home: Path) -> None:
    """Notes where the server does not start, or a page breaks, instead of saying what is wrong."""
    with server(home) as (address, _):
        wait_for_health(address, 0, well=False)
        visitor = Visitor(address)
        visitor.open("")
        if visitor.texts("exception"):
            row.wrong.append(f"a page breaks: {visitor.texts('exception')[0]}")
        visitor.close()


# ---- the clock ---------------------------------------------------------------------------------------------


def clock_jumps(by_s: float, times: int, dice: random.Random, home: Path) -> Row:
    """Sets the clock while a run is at work."""
    row, workspace = Row(f"the clock jumps by {by_s / DAY_S:+g} days"), Workspace(home)
    now = Path(os.environ["BENCHMARK_CLOCK"])
    now.write_text("0")
    for run, before in at_any_moment(times, dice, workspace, row, lambda: now.write_text("0")):
        now.write_text(str(by_s))
        ended(workspace, run, row)
        row.judge(workspace, run, before)
        workers = [e for e in workspace.events(run) if isinstance(e, ProcessStarted) and e.what == "worker"]
        if len(workers) > 1:
            row.wrong.append("a living worker was taken for a dead one")
        if not 0 < workspace.run(run).seconds < LONGEST_S:
            row.notes.append("what a run says it took holds the jump")
    now.write_text("0")
    return row


def clock_rows(times: int, seed: int, folder: Path) -> list[Row]:
    """Has another process, whose clock can be set as that of all that it starts, make the rows."""
    (folder / "sitecustomize.py").write_text(CLOCK)
    (folder / "clock").write_text("0")
    words = ["-m", "benchmarks.faults", "--clock", str(folder), "--jumps", str(times), "--seed", str(seed)]
    path = f"{folder}{os.pathsep}{ROOT}"
    environment = os.environ | {"PYTHONPATH": path, "BENCHMARK_CLOCK": str(folder / "clock")}
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True)
    return pickle.loads((folder / "rows").read_bytes())


# ---- all of it ---------------------------------------------------------------------------------------------


def main() -> None:
    """Measures and writes results/faults.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="kills of each kind")
    parser.add_argument("--disks", type=int, default=5, help="times that a disk is full, or read-only")
    parser.add_argument("--jumps", type=int, default=3, help="jumps of the clock, each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clock", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewise-faults-") as name:
        folder = given.clock or Path(name)
        if given.clock:
            made = [clock_jumps(by, given.jumps, random.Random(given.seed), folder / f"{by}") for by in JUMPS]
            (folder / "rows").write_bytes(pickle.dumps([said(row) for row in made]))
            return
        rows = [
            said(fault(given.times, random.Random(given.seed), folder / fault.__name__))
            for fault in (server_killed, worker_killed, child_killed)
        ]
        for fault in (disk_full, disk_read_only):
            try:
                with disk(folder / fault.__name__) as home:
                    rows.append(said(fault(given.disks, random.Random(given.seed), home)))
            except PermissionError as error:
                rows.append(Row(f"{fault.__name__.replace('_', ' ')}: not tried, {error}"))
        rows += clock_rows(given.jumps, given.seed, folder)
    report(given, rows)


def said(row: Row) -> Row:
    """Prints a row, and returns it."""
    print(*row.cells(), *row.lost, *row.wrong, sep=" | ", flush=True)
    return row


def report(given: argparse.Namespace, rows: list[Row]) -> None:
    """Writes the table and whether each target is met."""
    lost, wrong = sum(len(row.lost) for row in rows), sum(len(row.wrong) for row in rows)
    times = sum(row.times for row in rows)
    through = sum(row.done for row in rows)
    path = record.write(
        "faults",
        "Runs under kills, a full disk, a read-only workspace and a clock that jumps",
        COLUMNS,
        [row.cells() for row in rows],
        [
            {"target": "nothing that was finished is lost", "figure": f"{lost} variants", "met": not lost},
            {
                "target": "everything goes on, or says why not",
                "figure": f"{through} of {times} to the end, {wrong} wrong",
                "met": not wrong,
            },
        ],
        seed=given.seed,
        lost={row.fault: row.lost for row in rows},
        wrong={row.fault: row.wrong for row in rows},
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
