"""The wall: work that may crash, run out of memory, loop or be hostile runs in a child process behind it.

`run` starts `python -m MODULE`, hands it one JSON request and takes back JSON messages and one JSON result;
nothing
else crosses. The child has its own process group, a clean environment, a temporary home, no network where the
kernel allows, limits on memory, files and processes, and dies with its parent. A child's module ends with
`serve(handler)`.
"""

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.errors import BadInput, EdgewiseError
from engine.wall import system_calls

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_S = 0.1
MOST_LINE_BYTES = 50_000_000
PR_SET_PDEATHSIG = 1
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "EDGEWISE_HOME",
    "EDGEWISE_DATA",
    "EDGEWISE_PUBLIC",
    "EDGEWISE_MEASUREMENTS",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
)


@dataclass(frozen=True)
class Limits:
    """What one child may use: resident bytes of its whole group without pages of mapped files, wall seconds,
    bytes of one
    written file, threads; whether it may reach the network and start programs."""

    memory_bytes: int = 1_500_000_000
    seconds: float = 600
    file_bytes: int = 2_000_000_000
    threads: int = 2
    network: bool = False
    programs: bool = True


class Failed(EdgewiseError):
    """A child ended without a result; the message says why, in words that fit behind "failed, because"."""


class Cancelled(EdgewiseError):
    """The run was cancelled while a child was at work."""


@dataclass
class Watch:
    """What the caller hears of while a child runs; any of them may be left out."""

    on_message: Callable[[dict], None] = lambda message: None
    on_start: Callable[[int], None] = lambda pid: None
    cancelled: Callable[[], bool] = lambda: False
    on_memory: Callable[[int], None] = lambda bytes_: None


def run(
    module: str, request: dict, limits: Limits = Limits(), watch: Watch | None = None, log: Path | None = None
) -> dict:
    """Runs `python -m module` with `request` on its standard input and returns its result.

    Raises BadInput for what the child found wrong with its input, Failed for every other end, Cancelled when
    `watch.cancelled` said so. The child's whole process group is gone when this returns or raises.
    """
    watch = watch or Watch()
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="edgewise-") as home, open(log or os.devnull, "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writer],
            cwd=ROOT,
            env=_environment(home, writer, limits),
            start_new_session=True,
        )
        os.close(writer)
        try:
            watch.on_start(child.pid)
            _send_request(child, request)
            return _listen(child, reader, limits, watch)
        finally:
            _kill_group(child)
            os.close(reader)


def _environment(home: str, writer: int, limits: Limits) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "HOME": home,
        "TMPDIR": home,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        # a waiting OpenMP thread that spins takes the core its partner needs: 7 times slower when another
        # program runs
        "OMP_NUM_THREADS": str(limits.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": str(limits.threads),
        "MALLOC_ARENA_MAX": "2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "EDGEWISE_CHILD": json.dumps(
            {
                "writer": writer,
                "parent": os.getpid(),
                "memory_bytes": limits.memory_bytes,
                "file_bytes": limits.file_bytes,
                "network": limits.network,
                "programs": limits.programs,
            }
        ),
    }


def _send_request(child: subprocess.Popen, request: dict) -> None:
    try:
        child.stdin.write(json.dumps(request).encode())
        child.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; _listen finds out how


def _listen(child: subprocess.Popen, reader: int, limits: Limits, watch: Watch) -> dict:
    deadline = time.monotonic() + limits.seconds
    buffer, outcome, next_sample = bytearray(), None, 0.0
    while True:
        ready, _, _ = select.select([reader], [], [], SAMPLE_S)
        chunk = os.read(reader, 1 << 16) if ready else b""
        buffer += chunk
        if len(buffer) > MOST_LINE_BYTES:
            raise Failed("its process sent a message without end")
        # splitting only where a line ends keeps a long message from being copied with every piece of it
        *lines, buffer = buffer.split(b"\n") if b"\n" in chunk else [buffer]
        for message in map(_message, lines):
            if "result" in message or "error" in message:
                outcome = message
            else:
                watch.on_message(message)
        if outcome is not None or (ready and not chunk):
            return _conclude(child, outcome)
        if watch.cancelled():
            raise Cancelled("The run was cancelled.")
        now = time.monotonic()
        if now > deadline:
            raise Failed(f"it took longer than the {limits.seconds:.0f} s it was given")
        if now >= next_sample:
            next_sample = now + SAMPLE_S
            _watch_memory(child, limits, watch)


def _message(line: bytes) -> dict:
    """Returns one message of a child. A child may be hostile, so what isn't shaped like one fails the child,
    not us.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if isinstance(message, dict):
        result, error = message.get("result", {}), message.get("error", {"kind": "", "message": ""})
        named = "result" in message or "error" in message or isinstance(message.get("kind"), str)
        if (
            named
            and isinstance(result, dict)
            and isinstance(error, dict)
            and isinstance(error.get("kind"), str)
            and isinstance(error.get("message"), str)
        ):
            return message
    raise Failed("its process sent something that is no message")


def _watch_memory(child: subprocess.Popen, limits: Limits, watch: Watch) -> None:
    resident = _resident(child.pid)
    used = sum(resident.values())
    watch.on_memory(used)
    # pages of mapped files are the system's to take back: a data set read in random order is in memory as a
    # whole after a while
    if used > limits.memory_bytes and used - sum(map(_mapped_bytes, resident)) > limits.memory_bytes:
        raise Failed(f"it needed more than the {limits.memory_bytes / 1e6:.0f} MB of memory it was given")


def _conclude(child: subprocess.Popen, outcome: dict | None) -> dict:
    if outcome is None:
        try:
            code = child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            raise Failed("its process closed the line and went on") from None
        if code < 0:
            raise Failed(f"its process was killed (signal {-code}, {signal.Signals(-code).name})")
        raise Failed(f"its process ended with code {code} and no result")
    if "result" in outcome:
        return outcome["result"]
    error = outcome["error"]
    raise (BadInput if error["kind"] == "input" else Failed)(error["message"])


def resident_bytes(pid: int) -> int:
    """Returns the resident bytes of a process and all that it started; 0 when it is gone."""
    return sum(_resident(pid).values())


def _resident(pid: int) -> dict[int, int]:
    """Returns the resident bytes of a process and of all that it started, by pid."""
    found = {}
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                found[member.pid] = member.memory_info().rss
    return found


def _mapped_bytes(pid: int) -> int:
    """Returns the resident pages of files on disk, in bytes; shared memory is none. 0 where the system does
    not tell.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile:"))


def own_bytes() -> int:
    """Returns the resident bytes of this process alone."""
    return psutil.Process().memory_info().rss


def identity(pid: int) -> dict:
    """Returns what tells a process from a later one with its number: pid and start time."""
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    except psutil.Error:
        return {"pid": pid, "started": None}


def _kill_group(child: subprocess.Popen) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


# ---- the child's side --------------------------------------------------------------------------------------


def serve(handler: Callable[[dict, Callable[[dict], None]], dict]) -> None:
    """Runs in the child: locks the process down, then answers the one request with `handler(request,
    send)`.
    """
    orders = json.loads(os.environ.pop("EDGEWISE_CHILD"))
    _lock_down(orders)
    with os.fdopen(orders["writer"], "w", buffering=1) as line:

        def send(message: dict) -> None:
            line.write(json.dumps(message) + "\n")

        try:
            send({"result": handler(json.load(sys.stdin), send)})
        except BadInput as error:
            send({"error": {"kind": "input", "message": str(error)}})
        except EdgewiseError as error:
            send({"error": {"kind": "failed", "message": str(error)}})
        except MemoryError:
            send(
                {
                    "error": {
                        "kind": "failed",
                        "message": (
                            f"it needed more than the {orders['memory_bytes'] / 1e6:.0f} MB of memory "
                            "it was given"
                        ),
                    }
                }
            )
        except (
            Exception
        ) as error:  # the wall's whole point: whatever happens inside becomes one sentence outside
            import traceback

            traceback.print_exc()
            text = (str(error).strip().splitlines() or [""])[0][:300]
            memory = "alloc" in text.lower() and "memory" in text.lower()
            message = (
                f"it needed more than the {orders['memory_bytes'] / 1e6:.0f} MB of memory it was given"
                if memory
                else f"{type(error).__name__}: {text}"
            )
            send({"error": {"kind": "failed", "message": message}})
    sys.stdout.flush()
    os._exit(0)  # frameworks' exit handlers can hang or crash; the answer is out


def _lock_down(orders: dict) -> None:
    """Applies the limits from inside; what the kernel refuses is left out, the parent's watch holds all the
    same.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != orders["parent"]:
            os._exit(1)
        if not orders["network"]:
            _leave_network(libc)
    system_calls.restrict(orders["network"], orders["programs"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (orders["file_bytes"],) * 2)
    # RLIMIT_DATA counts private memory that is reserved and not yet touched, which allocators take ahead of
    # need.
    resource.setrlimit(resource.RLIMIT_DATA, (orders["memory_bytes"] + 2_000_000_000,) * 2)


def _leave_network(libc: ctypes.CDLL) -> None:
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        try:
            Path("/proc/self", name).write_text(text)
        except OSError:
            return
