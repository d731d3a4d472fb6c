"""The log of one run, `events.jsonl`: processes of the run append to it, whoever looks reads what is new."""

import errno
import os
from pathlib import Path

from engine import events
from engine.events import Event


class RunLog:
    """One log. It remembers how far it has read, so that a page's poll only reads what came since."""

    def __init__(self, path: Path):
        self.path = path
        self.unread = 0  # lines that are damaged, or of a kind that this version doesn't know
        self._events: list[Event] = []
        self._offset, self._inode = 0, -1

    def append(self, event: Event) -> None:
        """Adds one event; raises OSError where it can't be written as a whole."""
        with open(self.path, "ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            # a line that a crash or a full disk cut off must not swallow this one
            torn = size and file.read(1) != b"\n"
            line = b"\n" * torn + events.written(event).encode()
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, "the line was cut off")

    def read(self) -> list[Event]:
        """Returns all events in order; a last line that is not whole yet, or was cut off, is left out."""
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:  # not the file that it was
                    self.unread, self._events, self._offset, self._inode = 0, [], 0, found.st_ino
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return []
        whole = new.rfind(b"\n") + 1
        for line in new[:whole].split(b"\n"):
            event = events.read(line) if line.strip() else None
            if event is not None:
                self._events.append(event)
            elif line.strip():
                self.unread += 1
        self._offset += whole
        return list(self._events)
