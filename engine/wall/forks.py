"""The process of a template: it imports what it is told, then forks a child for each order that comes in.

    python -m engine.wall.forks MODULE …

A child gets its own session, the whole environment and the open files of its order before it does anything
else, then runs its module, whose `serve` locks it down as in a fresh process. This process reads nothing of a
model, runs no code of a user, and has a single thread.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import traceback
from typing import Any, NoReturn

from engine.wall.child import ORDERS, PR_SET_PDEATHSIG

LINE = "EDGEWISE_TEMPLATE"  # the variable that holds the number of the line to the parent, and the parent's
MOST_BYTES = 1 << 17


def main(modules: list[str]) -> None:
    """Imports, then answers orders until the parent has gone."""
    number, parent = map(int, os.environ.pop(LINE).split())
    _die_with(parent)
    line = socket.socket(fileno=number)
    gc.disable()  # an import makes what stays; looking through it again and again is a fifth of its time
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError:  # the child that needs it says so, in its own words
            traceback.print_exc()
    gc.collect()
    gc.freeze()  # what is there now is never looked at again, so that its pages stay shared
    gc.enable()
    while True:
        order, files, _, _ = socket.recv_fds(line, MOST_BYTES, 3)
        if not order:
            return
        _answer(line, json.loads(order), files)


def _answer(line: socket.socket, order: dict[str, Any], files: list[int]) -> None:
    """Forks one child, says how it ended, and forgets it when the parent has killed its group."""
    pid = -1
    if (count := len(os.listdir("/proc/self/task"))) > 1:
        _say(line, {"refused": f"it has {count} threads"})
    else:
        try:
            pid = os.fork()
        except OSError as error:
            _say(line, {"refused": f"it can't be forked ({error.strerror})"})
    if pid == 0:
        _become(line, order, files)
    for file in files:
        os.close(file)
    if pid > 0:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert found is not None  # only a call that does not wait returns without one
        exited = found.si_code == os.CLD_EXITED
        _say(line, {"code": found.si_status if exited else -found.si_status})
        line.recv(MOST_BYTES)  # "reap"
        os.waitpid(pid, 0)


def _become(line: socket.socket, order: dict[str, Any], files: list[int]) -> NoReturn:
    """Makes this fork the child that was ordered."""
    try:
        parent = os.getppid()
        os.setsid()
        _die_with(parent)
        asked, tell, output = files
        for file, target in ((asked, 0), (output, 1), (output, 2)):
            os.dup2(file, target)
        os.close(asked)
        os.close(output)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.environ[ORDERS] = json.dumps(order["orders"] | {"writer": tell, "parent": parent})
        tempfile.tempdir = None
        _say(line, {"pid": os.getpid()})
        line.close()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()  # what it does once, as it is imported
        sys.argv = [order["module"]]
        sys.modules.pop(order["module"], None)  # it was imported for what it imports; now it is the program
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _say(line: socket.socket, what: dict[str, Any]) -> None:
    line.send(json.dumps(what).encode())


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
