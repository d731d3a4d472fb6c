"""Processes of this machine: what tells one from another, what they hold, how they are started and ended."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
CHILDREN = "edgewise-child-"  # what the names of their temporary homes begin with
DEATH_S = 1.0  # what a killed process may take to be gone


def identity(pid: int) -> dict[str, Any]:
    """Returns what tells a process from a later one with its number: pid and start time."""
    try:
        return {"pid": pid, "started": _started(psutil.Process(pid))}
    except psutil.Error:
        return {"pid": pid, "started": None}


def _started(process: psutil.Process) -> float:
    """Returns when a process started. On Linux in seconds since the machine did: there, the time of day at
    which it started changes when somebody sets the clock.
    """
    return round(float(process.create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)), 2)


def lives(process: Mapping[str, Any]) -> bool:
    """Tells whether a process whose `identity` was noted still runs, and is not another with its number."""
    try:
        found = psutil.Process(process["pid"])
        return bool(_started(found) == process["started"] and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def kill_group(pid: int) -> None:
    """Kills a process that leads a group, and all that it started; one that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_noted(*noted: Mapping[str, Any]) -> None:
    """Kills the groups of those processes whose `identity` was noted that still run, and removes the
    temporary homes of their children.
    """
    living = [process for process in noted if lives(process)]
    for process in living:
        kill_group(process["pid"])
    until = time.monotonic() + DEATH_S
    while time.monotonic() < until and any(map(lives, living)):
        time.sleep(0.01)
    sweep(Path(tempfile.gettempdir()), CHILDREN)


def start_detached(module: str, arguments: Iterable[str], home: Path, log: Path) -> dict[str, Any]:
    """Starts `python -m module argument …` in a session of its own, which outlives this process; returns its
    identity.

    home: the workspace that it works in. Its output goes to the end of `log`.
    """
    with open(log, "ab") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"EDGEWISE_HOME": str(home)},
            start_new_session=True,
        )
    # somebody must wait for it, or an ended one stays as a zombie of the server
    threading.Thread(target=worker.wait, daemon=True).start()
    return identity(worker.pid)


# ---- memory ------------------------------------------------------------------------------------------------


def resident(pid: int) -> dict[int, int]:
    """Returns the resident bytes of a process and of all that it started, by pid; nothing when it is gone."""
    found: dict[int, int] = {}
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                found[member.pid] = member.memory_info().rss
    return found


def resident_bytes(pid: int) -> int:
    """Returns the resident bytes of a process and of all that it started; 0 when it is gone."""
    return sum(resident(pid).values())


def own_bytes() -> int:
    """Returns the resident bytes of this process alone."""
    return int(psutil.Process().memory_info().rss)


def mapped_bytes(pid: int) -> int:
    """Returns the resident bytes of files on disk (shared memory is none); 0 where the system tells none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile:"))


# ---- folders that end with their owner ---------------------------------------------------------------------


@contextmanager
def own_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Makes a folder that goes away at the end; those that killed processes left behind go away now.

    A folder is locked while its owner lives, and the lock ends with the process, however that ends.
    """
    sweep(parent, prefix)
    folder, held = _locked(parent, prefix)
    try:
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def _locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """Makes a folder and locks it. Before that, another process may take it for one that was left behind and
    remove it: then there is a next one.
    """
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        with suppress(FileNotFoundError, BlockingIOError):
            held = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder.stat()
            except OSError:
                os.close(held)
                raise
            return folder, held


def sweep(parent: Path, prefix: str) -> None:
    """Removes the folders of this name whose owners do not live any more."""
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # another one sweeps too, or it is not ours
            if folder.lstat().st_uid != os.getuid():
                continue
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError while its owner lives
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)
