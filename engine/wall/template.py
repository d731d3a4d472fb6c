"""A process that has imported a framework and is idle: children of a run are forked from it, which takes
milliseconds where a new Python process takes seconds.

The parent's side; `engine.wall.forks` is the other. A template forks only while it has a single thread: a
lock that another thread held would stay locked in the child for ever. Where it can't, `start` returns None,
and the caller starts a fresh process instead.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

from engine.wall import processes
from engine.wall.forks import LINE, MOST_BYTES
from engine.wall.limits import Limits, environment
from engine.wall.processes import ROOT

START_S = 120.0  # what the imports may take before the caller helps himself
END_S = 10.0  # what a killed child may take to be gone


class Template:
    """An idle process with `modules` imported. It dies with the thread that made it, and at `close`.

    threads: what libraries that read the number of threads as they are imported shall find.
    `why_not` says why the last `start` gave no child.
    """

    def __init__(self, modules: tuple[str, ...], threads: int = Limits.threads, log: Path | None = None):
        self.why_not = "" if sys.platform == "linux" else "only Linux tells how many threads a process has"
        self.modules = modules
        self._taken = threading.Lock()
        self._stack = ExitStack()
        if self.why_not:
            return
        home = self._stack.enter_context(
            processes.own_folder(Path(tempfile.gettempdir()), processes.CHILDREN)
        )
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stack.enter_context(self._line)
        with theirs, open(log or os.devnull, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "engine.wall.forks", *modules],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=environment(home, Limits(threads=threads)) | {LINE: f"{theirs.fileno()} {os.getpid()}"},
            )
        self._stack.callback(self._process.wait)
        self._stack.callback(self._process.kill)

    def __enter__(self) -> "Template":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, and with it a child that is still at work."""
        self.why_not = self.why_not or "it was closed"
        self._stack.close()

    def resident_bytes(self) -> int:
        """Returns what the idle process itself holds; much of it is shared with its children."""
        return 0 if self.why_not else processes.resident(self._process.pid).get(self._process.pid, 0)

    def start(
        self,
        module: str,
        environment: dict[str, str],
        orders: dict[str, Any],
        asked: FileIO,
        tell: FileIO,
        output: BufferedWriter,
    ) -> "Forked | None":
        """Forks a child that runs `module` like `python -m`; None where that can't be done safely.

        One child at a time; waits for the imports where they are still going on.
        """
        if self.why_not or not self._taken.acquire(blocking=False):
            return None
        order = {"module": module, "environment": environment, "orders": orders}
        answer: dict[str, Any] | None = None
        with suppress(OSError):
            socket.send_fds(
                self._line, [json.dumps(order).encode()], [f.fileno() for f in (asked, tell, output)]
            )
            answer = self.hear(START_S)
        if answer and "pid" in answer:
            return Forked(answer["pid"], self)
        if answer and "code" in answer:  # it died as it was born
            self.reap()
        self.why_not = (answer or {}).get("refused", "its process does not answer")
        self._taken.release()
        self.close()
        return None

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """Returns what the process says next, None if it says nothing in time; raises OSError where it has
        gone.
        """
        self._line.settimeout(seconds)
        try:
            said = self._line.recv(MOST_BYTES)
        except TimeoutError:
            return None
        if not said:
            raise ConnectionError("the template has gone")
        return dict(json.loads(said))

    def reap(self) -> None:
        """Lets the process forget a child that has ended: until then nobody else gets its number."""
        with suppress(OSError):
            self._line.send(b"reap")

    def free(self) -> None:
        """Takes orders again."""
        self._taken.release()


class Forked:
    """A child of a template, as the wall's parent sees it."""

    def __init__(self, pid: int, template: Template):
        self.pid, self._template = pid, template
        self._code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Returns its exit code, negative for the signal that killed it, or None while it goes on."""
        if self._code is None:
            try:
                said = self._template.hear(seconds)
            except OSError:
                self._code = -9  # the template was killed, and its children die with it
            else:
                self._code = said["code"] if said else None
        return self._code

    def end(self) -> None:
        """Kills it and all that it started."""
        processes.kill_group(self.pid)
        ended = self.wait(END_S) is not None
        self._template.reap()
        self._template.free()
        if not ended:
            self._template.close()
