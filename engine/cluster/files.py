"""A worker's files, each under its SHA-256: what came once is not sent again while the worker lives."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from engine.errors import EdgewiseError
from engine.store.files import sentence_on_full_disk
from models.catalog import sha256_of

MOST_FILE_BYTES = 20_000_000_000  # a data set of the largest pictures that are taken


class Files:
    """The files in one folder; orders' children may reach them, so each is looked at again before its use."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Returns those SHA-256s whose bytes are not here, or not any more as they came."""
        return [name for name in dict.fromkeys(names) if not self._is_whole(name)]

    def _is_whole(self, name: str) -> bool:
        path = self.folder / name
        if path.exists() and sha256_of(path) != name:
            path.unlink()
        return path.exists()

    def add(self, name: str, sender: str, offset: int, data: bytes, is_last: bool) -> None:
        """Adds a piece of a file that one sender sends in order; with the last one it must have its SHA-256,
        or EdgewiseError is raised and it is gone.
        """
        part = self.folder / f"{name}.{sender}"
        have = part.stat().st_size if part.exists() else 0
        if offset != have or have + len(data) > MOST_FILE_BYTES:
            part.unlink(missing_ok=True)
            raise EdgewiseError("a piece of a file came out of turn, or the file is too large")
        with sentence_on_full_disk(), part.open("ab") as file:
            file.write(data)
        if not is_last:
            return
        if sha256_of(part) != name:
            part.unlink()
            raise EdgewiseError("a file did not arrive as it was sent: its SHA-256 is another one")
        part.replace(self.folder / name)

    def put(self, name: str, target: Path, is_large: bool) -> None:
        """Puts a file where an order wants it: a large one, which nobody writes to, as a link."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with sentence_on_full_disk():
            (os.link if is_large else shutil.copyfile)(self.folder / name, target)
