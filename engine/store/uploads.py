"""What visitors uploaded: `<home>/uploads/<sha256>/model` or `data.zip`, with `model.json` beside a model.

Bytes are kept under their hash, never under a name of the visitor's. There is a quota: old uploads go, the
oldest first, unless a run uses them.
"""

import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from engine.errors import BadInput
from engine.host import is_public
from engine.store.files import read_json, sentence_on_full_disk, write_json, write_whole
from engine.vocabulary import ModelFile, parse
from engine.watch import refused

Name = Literal["model", "data.zip"]

MOST_FILE_BYTES = 500 * 2**20  # what the dashboard's upload field takes, too
MOST_BYTES, MOST_PUBLIC_BYTES = 20_000_000_000, 5_000_000_000  # of all uploads together
YOUNG_S = 3600.0  # someone may still be configuring a run with it
SENDER = "from-"  # what the name of an empty file begins with that says who sent an upload
SHA256 = re.compile("[0-9a-f]{64}")


def keep(data: bytes, home: Path, name: Name) -> Path:
    """Writes an uploaded file and returns where; raises BadInput where it, or all together, are too large."""
    if len(data) > MOST_FILE_BYTES:
        raise refused(
            "too_large",
            f"The file has {len(data) / 1e6:,.0f} MB and at most {MOST_FILE_BYTES / 1e6:,.0f} MB are taken:"
            " give a smaller one.",
        )
    path = home / "uploads" / hashlib.sha256(data).hexdigest() / name
    if path.exists():
        os.utime(path)  # used again, so it is young again
        return path
    make_room(len(data), home)
    with sentence_on_full_disk():
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    return path


def received(sha256: str, name: Name, home: Path) -> tuple[int, bool]:
    """Returns how many bytes of an upload in parts are here, and whether that is all of them."""
    whole, part = (home / "uploads" / sha256 / file for file in (name, f"{name}.part"))
    if whole.exists():
        return whole.stat().st_size, True
    return (part.stat().st_size if part.exists() else 0), False


def add_part(data: bytes, offset: int, sha256: str, name: Name, home: Path) -> None:
    """Adds bytes to an upload in parts; raises BadInput where they don't follow what is here, or where it
    grows too large.
    """
    folder = home / "uploads" / sha256
    have, _ = received(sha256, name, home)
    if offset != have:
        raise BadInput(
            f"{have:,} bytes are here, so a part at {offset:,} does not follow: go on at {have:,}."
        )
    if have + len(data) > MOST_FILE_BYTES:
        raise refused("too_large", f"At most {MOST_FILE_BYTES / 1e6:,.0f} MB are taken: give a smaller file.")
    with sentence_on_full_disk():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.part").open("ab") as file:
            file.write(data)


def finish(sha256: str, name: Name, home: Path) -> None:
    """Makes an upload in parts whole once its bytes have the hash that it goes by; those of another hash are
    removed, which raises BadInput.
    """
    part = home / "uploads" / sha256 / f"{name}.part"
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink(missing_ok=True)
        raise refused(
            "other_sum", f"The bytes have the SHA-256 {found[:16]}…, not the one named: send the file again."
        )
    part.replace(part.with_name(name))


def note_sender(sha256: str, visitor: str, home: Path) -> None:
    """Notes that a visitor sent an upload, and is charged with it."""
    if visitor:
        with sentence_on_full_disk():
            (home / "uploads" / sha256).mkdir(parents=True, exist_ok=True)
            (home / "uploads" / sha256 / f"{SENDER}{visitor}").touch()


def senders(sha256: str, home: Path) -> set[str]:
    """Returns the visitors who sent an upload."""
    return {path.name.removeprefix(SENDER) for path in (home / "uploads" / sha256).glob(f"{SENDER}*")}


def bytes_of(visitor: str, home: Path) -> int:
    """Returns the bytes of what a visitor sent."""
    return sum(_bytes(note.parent) for note in (home / "uploads").glob(f"*/{SENDER}{visitor}"))


def remove_unused(home: Path, older_s: float) -> None:
    """Removes what visitors sent that no run uses, and nobody used for so long."""
    used, now = _used(home), time.time()
    for folder in (home / "uploads").glob("*"):
        if folder.name not in used and senders(folder.name, home) and now - _last_used(folder) > older_s:
            shutil.rmtree(folder, ignore_errors=True)


def make_room(wanted_bytes: int, home: Path) -> None:
    """Removes old uploads that no run uses until so many bytes are free of the quota; raises BadInput where
    that is not enough.
    """
    most = MOST_PUBLIC_BYTES if is_public() else MOST_BYTES
    found = {folder: _bytes(folder) for folder in (home / "uploads").glob("*") if folder.is_dir()}
    over = sum(found.values()) + wanted_bytes - most
    if over <= 0:
        return
    used, now = _used(home), time.time()
    free = [f for f in found if f.name not in used and now - _last_used(f) > YOUNG_S]
    if over > sum(found[folder] for folder in free):
        raise refused(
            "no_room",
            f"All uploads together may take {most / 1e9:,.0f} GB, and what is there is in use: delete runs"
            " that you no longer need, or try again in an hour.",
        )
    for folder in sorted(free, key=_last_used):
        shutil.rmtree(folder, ignore_errors=True)
        over -= found[folder]
        if over <= 0:
            return


class Upload(NamedTuple):
    """A file that is here, or a part of one: `title` is what its visitor called it, "" where that isn't
    known; `last_used` in seconds since 1970.
    """

    sha256: str
    name: Name
    received_bytes: int
    complete: bool
    title: str
    last_used: float
    in_use: bool


def listed(home: Path) -> list[Upload]:
    """Returns every upload, the last used first, and whether a run uses it: then it stays."""
    used, found = _used(home), []
    for folder in (home / "uploads").glob("*"):
        for name in get_args(Name):
            have, whole = received(folder.name, name, home)
            if SHA256.fullmatch(folder.name) and (have or whole):
                model = model_of(folder.name, home) if name == "model" else None
                about = (model.name if model else "", _last_used(folder), folder.name in used)
                found.append(Upload(folder.name, name, have, whole, *about))
    return sorted(found, key=lambda upload: upload.last_used, reverse=True)


def remember(model: ModelFile) -> None:
    """Keeps what was understood beside the bytes, so that a refresh does not ask for the file again."""
    write_json(Path(model.path).with_name("model.json"), model.model_dump(mode="json"))


def model_of(sha256: str, home: Path) -> ModelFile | None:
    """Returns an uploaded model by the hash of its bytes, None where it is not (any more) there."""
    path = file_of(sha256, "model", home)
    if path is None:
        return None
    try:
        return parse(ModelFile, read_json(path.with_name("model.json")), stored=True)
    except BadInput:
        return None


def file_of(sha256: str, name: Name, home: Path) -> Path | None:
    """Returns an uploaded file by the hash of its bytes, None where it is not (any more) there."""
    path = home / "uploads" / sha256 / name
    return path if SHA256.fullmatch(sha256) and path.exists() else None


def _used(home: Path) -> set[str]:
    """Returns the names of the folders that runs name as their model or their data."""
    used = set()
    for path in (home / "runs").glob("*/experiment.json"):
        asked = read_json(path)
        if isinstance(asked, dict):
            model = asked.get("model")
            paths = (model.get("path") if isinstance(model, dict) else None, asked.get("dataset"))
            used |= {Path(name).parent.name for name in paths if isinstance(name, str)}
    return used


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def _last_used(folder: Path) -> float:
    return max([path.stat().st_mtime for path in folder.glob("*")], default=0.0)
