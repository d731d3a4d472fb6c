"""What goes between the host of a run and the workers of its cluster: typed JSON, and files that are known by
their SHA-256 and checked by it at both ends. No network is ever pickled.
"""

import hashlib
import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from engine.errors import BadInput
from engine.frameworks import FRAMEWORKS
from engine.run.requests import MakeVariants
from engine.version import VERSION
from engine.wall.sandbox import Failed

MOST_BYTES = 4_000_000_000  # of one reply with all its files
MOST_HEAD_BYTES = 50_000_000  # of its JSON
TOPIC = "edgewise"  # of what workers say while they are at work
PART = re.compile(r"[\w@,+-][\w@.,+-]*", re.ASCII)


def _inner(path: str) -> str:
    """Lets only a path pass that stays within the folder it is read from, on any system."""
    parts = PurePosixPath(path).parts
    if not parts or "/".join(parts) != path or not all(map(PART.fullmatch, parts)):
        raise ValueError("is no path within a folder")
    return path


Inner = Annotated[str, Field(max_length=400), AfterValidator(_inner)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def checked_address(text: str) -> str:
    """Returns the address of a scheduler; raises BadInput where it is none."""
    if not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d+", text):
        raise BadInput(f"{text} is no address of a scheduler: tcp://HOST:8786, say.")
    return text


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Word):
    """A file by its place in the worker's folder, or in the run's where it comes back."""

    path: Inner
    sha256: Sha256
    bytes: int = Field(ge=0)


class Order(_Word):
    """One technique to be made: its request, whose paths the worker puts in, what it may use, its files."""

    id: str
    versions: dict[str, str]
    request: MakeVariants
    memory_bytes: int
    seconds: float
    files: tuple[File, ...]


class Trouble(_Word):
    """Why an order was not carried out to its end; `input` where what was given is wrong."""

    kind: Literal["input", "failed"]
    message: str = Field(max_length=2_000)


class Reply(_Word):
    """What became of an order: the variants that were told of, with their files, or the files that the worker
    lacks.
    """

    worker: str
    lacks: tuple[Sha256, ...] = ()
    variants: tuple[dict[str, Any], ...] = ()
    files: tuple[File, ...] = ()
    trouble: Trouble | None = None


class Said(_Word):
    """What a worker says of an order meanwhile: that it begins (no message), or what its child says."""

    order: str
    worker: str
    message: dict[str, Any] | None = None


def packed(reply: Reply, folder: Path) -> bytes:
    """Returns a reply and its files, which lie in `folder`, as a line of JSON and the bytes of each."""
    contents = [(folder / file.path).read_bytes() for file in reply.files]
    return b"".join([reply.model_dump_json().encode(), b"\n", *contents])


def unpacked(data: bytes) -> tuple[Reply, list[memoryview]]:
    """Returns a reply and what its files hold; raises Failed where it is none or too large, or a file has
    another SHA-256 than it says.
    """
    if not isinstance(data, bytes) or len(data) > MOST_BYTES:
        raise Failed("its worker answered with something else than an answer, or more than is taken")
    end = data.find(b"\n", 0, MOST_HEAD_BYTES)
    try:
        reply = Reply.model_validate_json(data[: max(0, end)])
    except ValidationError:
        raise Failed("its worker answered with something that is no answer") from None
    contents, place, whole = [], end + 1, memoryview(data)
    for file in reply.files:
        content = whole[place : place + file.bytes]
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise Failed(f"the file {file.path} did not arrive as its worker sent it")
        contents.append(content)
        place += file.bytes
    return reply, contents


def versions() -> dict[str, str]:
    """Returns the versions, and the kind of processor, that must be the same on all machines for them to make
    the same files.
    """
    found = {"edgewise": VERSION, "python": platform.python_version(), "processor": platform.machine()}
    names = {"distributed"}
    for entry in FRAMEWORKS.values():
        names |= {*entry.packages, *(name for export in entry.exports.values() for name in export.packages)}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def kind_of(known: dict[str, str]) -> str:
    """Returns what workers of these versions call their readiness to make a technique: Dask sends an order to
    those alone that have what it asks for.
    """
    return "edgewise-" + hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def difference(here: dict[str, str], there: dict[str, str]) -> str:
    """Returns where versions differ: "torch 2.11.0 here and 2.10.0 there"; "" where they don't."""
    names = [name for name in here | there if here.get(name) != there.get(name)]
    return ", ".join(
        f"{name} {here.get(name, 'not known')} here and {there.get(name, 'not known')} there"
        for name in names
    )
