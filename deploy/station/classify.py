"""The station's side of the process that runs a package: started, asked, and started anew when it dies."""

import json
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from deploy.station import packages
from deploy.station.refused import Refused

WORKER = Path(__file__).with_name("worker.py")
START_S = 60
ANSWER_S = 2.0
AGAIN_S = 1.0  # between two tries to start


class Failed(Exception):
    """The package gave no answer; the message says why."""


class Classifier:
    """One package at work. Raises Refused where it can't be opened."""

    def __init__(self, folder: Path, threads: int = 1, answer_s: float = ANSWER_S):
        packages.check(folder)
        self.folder, self.threads, self.answer_s = folder, threads, answer_s
        self.id = folder.name
        self.metadata = packages.metadata(folder)
        self.classes: list[str] = self.metadata["classes"]
        self.process: subprocess.Popen[bytes] | None = None
        self.closed = threading.Event()
        self.starting: threading.Thread | None = None
        self._start()

    @property
    def input(self) -> str:
        """Returns the size of what the model sees: of the light that is measured on it."""
        spec = self.metadata["preprocessing"]
        return f"{spec['height']}x{spec['width']} {spec['color']}"

    @property
    def is_ready(self) -> bool:
        """Tells whether its process is there to answer."""
        return self.process is not None

    def ask(self, picture: bytes) -> dict[str, Any]:
        """Returns what the worker says of a picture: class, probability and light, or `no_picture`.

        Raises Failed where it does not answer in time or has died; it is then started anew, in the
        background, and fails until it is ready.
        """
        if self.process is None:
            raise Failed("the classifier is starting again")
        try:
            self.link.settimeout(self.answer_s)
            self.link.sendall(len(picture).to_bytes(4, "big") + picture)
            return self._said()
        except (OSError, ValueError) as error:
            why = "took too long" if isinstance(error, TimeoutError) else "died"
            self._stop()
            self.starting = threading.Thread(target=self._again, daemon=True)
            self.starting.start()
            raise Failed(f"the classifier {why}") from None

    def close(self) -> None:
        """Ends the worker for good."""
        self.closed.set()
        if self.starting:
            self.starting.join(START_S)
        self._stop()

    def _again(self) -> None:
        while not self.closed.wait(AGAIN_S):
            with suppress(Refused, OSError):  # no memory for a process now: the next time
                return self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        words = [str(self.folder), str(theirs.fileno()), str(self.threads)]
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(WORKER), *words],
            pass_fds=[theirs.fileno()],
            env=packages.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # a Ctrl-C is the station's to handle
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(START_S)
        self.link, self.stream = ours, ours.makefile("rb")
        try:
            said = self._said()
        except (OSError, ValueError):
            said = {"error": "its process ended without a word"}
        if "ready" not in said:
            process.kill()
            process.wait()
            self.stream.close()
            ours.close()
            raise Refused(f"The package can't be opened here: {said.get('error')}.")
        self.process = process

    def _said(self) -> dict[str, Any]:
        line = self.stream.readline()
        found = json.loads(line)  # ValueError where the socket ended
        return dict(found)

    def _stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            self.stream.close()
            self.link.close()
            process.kill()
            process.wait()
