"""A child for the wall's tests: does what its request says, all of it bad manners. Run as `python -m
tests.wall.misbehaving`.
"""

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from engine.errors import BadInput, EdgewiseError
from engine.wall.child import serve


def crash(request, send):
    """Reads address 0."""
    ctypes.string_at(0)


def kill(request, send):
    """Dies as by the kernel's hand."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave(request, send):
    """Ends without a result."""
    os._exit(3)


def eat(request, send):
    """Takes memory until somebody stops it."""
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1) * 20_000_000))


def eat_in_a_grandchild(request, send):
    """Lets a process of its own take the memory."""
    subprocess.run(
        [sys.executable, "-c", "x = [bytearray(b'1' * 20_000_000) for _ in range(100_000)]"], check=True
    )
    time.sleep(60)


def read_a_large_file(request, send):
    """Maps a file into memory and looks at every page of it."""
    with open(request["path"], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        total = sum(pages[i] for i in range(0, len(pages), 4096))
        time.sleep(1)  # so that it is seen
    return {"total": total}


def loop(request, send):
    """Never ends."""
    send({"kind": "log", "text": "looping"})
    while True:
        pass


def sleep_with_a_grandchild(request, send):
    """Leaves a process behind and answers."""
    return {"pid": subprocess.Popen(["sleep", "60"]).pid, "own": os.getpid()}


def connect(request, send):
    """Calls a server on this machine."""
    socket.create_connection(("127.0.0.1", request["port"]), timeout=3).close()
    return {}


def start_a_program(request, send):
    return {"said": subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout}


def open_sockets(request, send):
    found = {}
    for name in ("AF_INET", "AF_INET6", "AF_PACKET", "AF_UNIX"):
        try:
            socket.socket(getattr(socket, name)).close()
            found[name] = "opened"
        except OSError as error:
            found[name] = type(error).__name__
    return found


def look(request, send):
    """Tells what it can see."""
    return {"environment": dict(os.environ), "here": os.getcwd(), "home": os.listdir(os.environ["HOME"])}


def write(request, send):
    """Writes a large file."""
    Path(os.environ["HOME"], "large").write_bytes(bytes(request["bytes"]))
    return {}


def refuse(request, send):
    """Finds its input wrong."""
    raise BadInput("The file is a picture of a cat: give a model.")


def fail(request, send):
    """Says why it can't."""
    raise EdgewiseError("the layer 'conv9' has no weights")


def stumble(request, send):
    """Has a defect."""
    raise KeyError("conv1\nand a second line")


def numbers(request, send):
    """Tells the threads of NumPy's algebra and its first random number."""
    import numpy
    import threadpoolctl

    pools = threadpoolctl.threadpool_info()
    return {"threads": sorted(p["num_threads"] for p in pools), "random": float(numpy.random.rand())}


def imported(request, send):
    """Tells which modules it would have to import itself."""
    return {"missing": [name for name in request["modules"] if name not in sys.modules]}


def say(request, send):
    """Sends whatever it was told to."""
    send(request["message"])
    return {}


def babble(request, send):
    """Writes onto the line to its parent what is no message."""
    for fd in (int(name) for name in os.listdir("/proc/self/fd")):
        try:
            if fd > 2:
                os.write(fd, bytes(request["bytes"], "utf-8"))
        except OSError:
            continue
    time.sleep(60)


def flood(request, send):
    """Writes one line that has no end."""
    while True:
        babbled = False
        for fd in (int(name) for name in os.listdir("/proc/self/fd")):
            try:
                if fd > 2:
                    os.write(fd, b"x" * 65536)
                    babbled = True
            except OSError:
                continue
        if not babbled:
            return {}


def talk(request, send):
    """Behaves."""
    for i in range(3):
        send({"kind": "progress", "fraction": i / 3})
    return {"echo": request["words"]}


ACTS = {
    act.__name__: act
    for act in (
        crash,
        kill,
        leave,
        eat,
        eat_in_a_grandchild,
        read_a_large_file,
        loop,
        sleep_with_a_grandchild,
        connect,
        start_a_program,
        open_sockets,
        look,
        write,
        refuse,
        fail,
        stumble,
        babble,
        say,
        imported,
        numbers,
        flood,
        talk,
    )
}

if __name__ == "__main__":
    serve(lambda request, send: ACTS[request["act"]](request, send))
