"""What a format of model files is: how its files are recognised, and what checks and opens them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from engine.store import zips

HEAD = 1 << 16


@dataclass(frozen=True)
class Kind:
    """One kind of file of a format.

    Attributes:
        title: What to call it on a page.
        framework: The id of the framework that opens it.
        check: "module:function" of a path; raises BadInput before anything is loaded.
        openings: "module:function" of (path, kind, architecture, size) to a list of `opening.Opening`.
        open: "module:function" of (path, ModelFile) to a network of the framework.
    """

    title: str
    framework: str
    check: str
    openings: str
    open: str


@dataclass(frozen=True)
class Format:
    """A folder of this room: its kinds of files by id, and which of them a file is.

    `recognise` may also answer a key of `refused.KINDS`: what looks like this format and is not taken.
    What checks and opens is named and not imported, so that the web process stays without frameworks.
    """

    id: str
    title: str
    kinds: dict[str, Kind]
    recognise: "Callable[[Start], str | None]"


@dataclass(frozen=True)
class Start:
    """The beginning of a file, by which it is recognised."""

    path: Path
    head: bytes
    size: int

    @classmethod
    def of(cls, path: Path) -> "Start":
        """Reads the first 64 KB."""
        with open(path, "rb") as stream:
            return cls(path, stream.read(HEAD), path.stat().st_size)

    @cached_property
    def names(self) -> list[str]:
        """The names in a ZIP, none for any other file. Raises BadInput for a damaged container."""
        if not self.head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return []
        with zips.open_checked(self.path) as archive:
            return archive.namelist()


def named(function: str) -> Callable:
    """Returns the function that "module:function" names."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
