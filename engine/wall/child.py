"""The child's side of the wall: it locks itself down before it reads its request, and answers it.

A child's module ends with `if __name__ == "__main__": serve(handler)`. What the kernel refuses of the
lock-down is left out: the parent's watch holds all the same.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import messages
from engine.errors import BadInput, EdgewiseError, shortened
from engine.wall import system_calls

ORDERS = "EDGEWISE_CHILD"  # the variable of the environment that holds a child's orders as JSON
PR_SET_PDEATHSIG = 1
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# RLIMIT_DATA counts private memory that is reserved and not yet touched, which allocators take ahead of need
RESERVED_BYTES = 2_000_000_000

Send = Callable[[dict[str, Any]], None]


def serve(handler: Callable[[dict[str, Any], Send], dict[str, Any]]) -> None:
    """Locks this process down, answers the one request with `handler(request, send)`, and ends."""
    orders = json.loads(os.environ.pop(ORDERS))
    lock_down(orders)
    with os.fdopen(orders["writer"], "w", buffering=1) as line:

        def send(message: dict[str, Any]) -> None:
            line.write(messages.written(message))

        try:
            send({"result": handler(json.load(sys.stdin), send)})
        except Exception as error:  # the wall's whole point: whatever happens becomes one sentence outside
            send({"error": _told(error, orders["memory_bytes"])})
    sys.stdout.flush()
    os._exit(0)  # frameworks' exit handlers can hang or crash; the answer is out


def _told(error: Exception, memory_bytes: int) -> dict[str, str]:
    """Returns the one sentence that goes out, and whether the input or the work was wrong."""
    if isinstance(error, EdgewiseError):
        return {"kind": "input" if isinstance(error, BadInput) else "failed", "message": str(error)}
    text = shortened((str(error).strip().splitlines() or [""])[0], 300)
    if isinstance(error, MemoryError) or ("alloc" in text.lower() and "memory" in text.lower()):
        return {
            "kind": "failed",
            "message": f"it needed more than the {memory_bytes / 1e6:.0f} MB of memory it was given",
        }
    traceback.print_exception(error)
    return {"kind": "failed", "message": f"{type(error).__name__}: {text}"}


def lock_down(orders: dict[str, Any]) -> None:
    """Applies the limits from inside: death with the parent, no network, no needless calls, bounded sizes."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if not orders["network"]:
            _leave_network(libc)
        # after the namespaces: the kernel forgets it when a process gets other rights
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != orders["parent"]:
            os._exit(1)
    system_calls.restrict(orders["network"], orders["programs"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (orders["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_DATA, (orders["memory_bytes"] + RESERVED_BYTES,) * 2)


def _leave_network(libc: ctypes.CDLL) -> None:
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        try:
            Path("/proc/self", name).write_text(text)
        except OSError:
            return
