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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
YOUNG_S = 60.0  # a folder may be there for a moment before its owner holds it


def identity(pid: int) -> dict[str, Any]:
    """Returns what tells a process from a later one with its number: pid and start time."""
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    except psutil.Error:
        return {"pid": pid, "started": None}


def lives(process: Mapping[str, Any]) -> bool:
    """Tells whether a process whose `identity` was noted still runs, and is not another with its number."""
    try:
        found = psutil.Process(process["pid"])
        return bool(found.create_time() == process["started"] and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def kill_group(pid: int) -> None:
    """Kills a process that leads a group, and all that it started; one that is gone is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_noted(process: Mapping[str, Any]) -> None:
    """Kills the group of a process whose `identity` was noted, if it still runs."""
    if lives(process):
        kill_group(process["pid"])


def start_detached(module: str, argument: str, home: Path, log: Path) -> dict[str, Any]:
    """Starts `python -m module argument` in a session of its own, which outlives this process; returns its
    identity.

    home: the workspace that it works in. Its output goes to the end of `log`.
    """
    with open(log, "ab") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", module, argument],
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
    _sweep(parent, prefix)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # another one sweeps too, or it is not ours
            found = folder.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNG_S:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError while its owner lives
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)
