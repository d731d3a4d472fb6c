"""The wall: work that may crash, run out of memory, loop or be hostile runs in a child process behind it.

`run` starts `python -m MODULE`, hands it one JSON request and takes back JSON messages and one JSON result;
nothing else crosses. The child has its own process group, a clean environment, a temporary home, no network
where the kernel allows, limits on memory, files and processes, and dies with its parent. The child's side is
`engine.wall.child`.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine import messages
from engine.errors import BadInput, EdgewiseError
from engine.wall import processes
from engine.wall.child import ORDERS
from engine.wall.limits import Limits, environment, orders
from engine.wall.processes import ROOT
from engine.wall.template import Forked, Template

USUAL = Limits()
SAMPLE_S = 0.1
LAST_S = 5.0  # what a child that has closed its line may take to end
MOST_LINE_BYTES = 50_000_000
MOST_MESSAGES = 500_000
PIECE_BYTES = 1 << 16


class Failed(EdgewiseError):
    """A child ended without a result; the message says why, in words that fit behind "failed, because"."""


@dataclass
class Watch:
    """What the caller hears of while a child runs; any of them may be left out.

    allowed: the kinds of message that the child may send; any other fails it.
    """

    on_message: Callable[[dict[str, Any]], None] = lambda message: None
    on_start: Callable[[int], None] = lambda pid: None
    on_memory: Callable[[int], None] = lambda bytes_: None
    allowed: TypeAdapter[Any] = messages.RUN


def run(
    module: str,
    request: dict[str, Any],
    limits: Limits = USUAL,
    watch: Watch | None = None,
    log: Path | None = None,
    template: Template | None = None,
) -> dict[str, Any]:
    """Runs `python -m module` with `request` on its standard input and returns its result.

    template: a process that has imported what the child needs, which forks it where that is safe.

    Raises BadInput for what the child found wrong with its input, Failed for every other end. The child's
    whole process group is gone when this returns or raises.
    """
    watch = watch or Watch()
    with ExitStack() as stack:
        home = stack.enter_context(processes.own_folder(Path(tempfile.gettempdir()), processes.CHILDREN))
        output = stack.enter_context(open(log or os.devnull, "ab"))
        asked, ask = stack.enter_context(_pipe())
        heard, tell = stack.enter_context(_pipe())
        words = (module, environment(home, limits), orders(limits), asked, tell, output)
        child: Forked | _Fresh = (template and template.start(*words)) or _Fresh(*words)
        stack.callback(child.end)
        asked.close()
        tell.close()
        watch.on_start(child.pid)
        return _Talk(child, limits, watch).hold(ask, heard, json.dumps(request).encode())


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Opens a pipe, whose two ends are closed at the end if not before."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as first, open(writer, "wb", buffering=0) as second:
        yield first, second


class _Fresh:
    """A child in a new Python process."""

    def __init__(
        self,
        module: str,
        environment: dict[str, str],
        orders: dict[str, Any],
        asked: FileIO,
        tell: FileIO,
        output: BufferedWriter,
    ):
        orders = orders | {"writer": tell.fileno(), "parent": os.getpid()}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=asked,
            stdout=output,
            stderr=output,
            pass_fds=[tell.fileno()],
            cwd=ROOT,
            env=environment | {ORDERS: json.dumps(orders)},
            start_new_session=True,
        )
        self.pid = self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Returns its exit code, negative for the signal that killed it, or None while it goes on."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def end(self) -> None:
        """Kills it and all that it started."""
        processes.kill_group(self.pid)
        self._process.wait()


class _Talk:
    """One conversation with a child: the request goes out, messages come in, within time and memory."""

    def __init__(self, child: Forked | _Fresh, limits: Limits, watch: Watch):
        self.child, self.limits, self.watch = child, limits, watch
        self.buffer, self.messages = bytearray(), 0
        self.outcome: dict[str, Any] | None = None

    def hold(self, ask: FileIO, heard: FileIO, request: bytes) -> dict[str, Any]:
        """Returns the child's result; raises BadInput or Failed."""
        deadline, next_sample = time.monotonic() + self.limits.seconds, 0.0
        os.set_blocking(ask.fileno(), False)  # a child that does not read must not stop us
        with selectors.DefaultSelector() as selector:
            selector.register(heard, selectors.EVENT_READ)
            selector.register(ask, selectors.EVENT_WRITE)
            while True:
                for key, _ in selector.select(SAMPLE_S):
                    if key.fileobj is ask:
                        request = self._written(ask, request)
                        if not request:
                            selector.unregister(ask)
                            ask.close()
                    elif not self._hears(heard.read(PIECE_BYTES) or b""):
                        return self._conclude()
                now = time.monotonic()
                if now > deadline:
                    raise Failed(f"it took longer than the {self.limits.seconds:.0f} s it was given")
                if now >= next_sample:
                    next_sample = now + SAMPLE_S
                    self._watch_memory()

    def _written(self, ask: FileIO, request: bytes) -> bytes:
        """Writes what the pipe takes and returns the rest."""
        try:
            return request[ask.write(request[:PIECE_BYTES]) or 0 :]
        except BrokenPipeError:
            return b""  # it died or wants no more; what it says or how it ends is found out by listening

    def _hears(self, chunk: bytes) -> bool:
        """Takes in a piece of what the child says; returns False once there is nothing more to hear."""
        self.buffer += chunk
        if len(self.buffer) > MOST_LINE_BYTES:
            raise Failed("its process sent a message without end")
        # splitting only where a line ends keeps a long message from being copied with every piece of it
        if b"\n" in chunk:
            *lines, self.buffer = self.buffer.split(b"\n")
            for line in lines:
                self._takes(line)
        return bool(chunk) and self.outcome is None

    def _takes(self, line: bytes | bytearray) -> None:
        """Takes one line of a child. A child may be hostile: what is no message fails the child, not us."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        self.messages += 1
        if self.messages > MOST_MESSAGES:
            raise Failed("its process sent messages without end")
        if _is_outcome(message):
            self.outcome = self.outcome or message
        elif (said := messages.parsed(message, self.watch.allowed)) is not None:
            self.watch.on_message(said)
        else:
            raise Failed("its process sent something that is no message")

    def _watch_memory(self) -> None:
        resident, most = processes.resident(self.child.pid), self.limits.memory_bytes
        used = sum(resident.values())
        self.watch.on_memory(used)
        # pages of mapped files are the system's to take back: a data set read in random order is in memory as
        # a whole after a while
        if used > most and used - sum(map(processes.mapped_bytes, resident)) > most:
            raise Failed(f"it needed more than the {most / 1e6:.0f} MB of memory it was given")

    def _conclude(self) -> dict[str, Any]:
        if self.outcome is None:
            code = self.child.wait(LAST_S)
            if code is None:
                raise Failed("its process closed the line and went on")
            if code < 0:
                raise Failed(f"its process was killed (signal {-code}, {signal.Signals(-code).name})")
            raise Failed(f"its process ended with code {code} and no result")
        if "result" in self.outcome:
            return dict(self.outcome["result"])
        error = self.outcome["error"]
        raise (BadInput if error["kind"] == "input" else Failed)(error["message"])


def _is_outcome(message: Any) -> bool:
    """Tells whether a child's line is its result or its error, shaped as they must be."""
    if not isinstance(message, dict) or len(message) != 1:
        return False
    error = message.get("error")
    return isinstance(message.get("result"), dict) or (
        isinstance(error, dict)
        and isinstance(error.get("kind"), str)
        and isinstance(error.get("message"), str)
    )
