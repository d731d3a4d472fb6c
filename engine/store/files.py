"""Plain files: JSON that is never half-written, and sentences for disks that are full or closed."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import EdgewiseError

FULL = "The disk is full: free some space or set EDGEWISE_HOME to another disk; what was finished is kept."


def write_json(path: Path, data: Any) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    write_whole(path, json.dumps(data, indent=1).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises EdgewiseError where the disk is full or closed."""
    # two threads of the web process, or two children, may write the same file at once
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    with sentence_on_full_disk():
        try:
            draft.write_bytes(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds, or None when it isn't there or is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


@contextmanager
def sentence_on_full_disk() -> Iterator[None]:
    """Turns "no space left" and "not permitted" into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise EdgewiseError(FULL) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise EdgewiseError(
                f"{error.filename} can't be written ({error.strerror}): set EDGEWISE_HOME to a folder "
                "of yours."
            ) from None
        raise
