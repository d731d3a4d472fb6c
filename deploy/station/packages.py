"""Packages on the station: what a zip or folder must look like before any of it runs, and its own
trial."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from deploy.station.refused import Refused

SUMS = "SHA256SUMS"
NEEDED = ("metadata.json", "classifier.py", "image.py", "verify.py")
MOST_FILES = 1000
MOST_BYTES = 1_000_000_000
PATH = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
TRIAL_S = 120
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    EOFError,
)


def install(package: Path, into: Path) -> Path:
    """Copies a package (zip or folder) into a folder of its own under `into`, checked against its sums, and
    returns it; the folder's name is the digest of the sums, so that the same package is there once.

    Raises Refused.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".new-") as draft:
        copy = Path(draft) / "package"
        copy.mkdir()
        if package.is_dir():
            _copy_folder(package, copy)
        else:
            _unpack(package, copy)
        check(copy, package.name)
        target = into / hashlib.sha256((copy / SUMS).read_bytes()).hexdigest()[:16]
        if target.exists():
            try:
                check(target)
                return target
            except Refused:  # it was damaged since
                shutil.rmtree(target)
        copy.replace(target)
    return target


def check(folder: Path, name: str = "") -> None:
    """Holds every file of a package against its sums. Raises Refused."""
    name = name or folder.name
    for path, digest in _listed(_read(folder / SUMS, name), name).items():
        try:
            content = (folder / path).read_bytes()
        except OSError:
            raise Refused(f"{name} lacks {path}: hand over the package again.") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise Refused(
                f"{path} of {name} is not the file that was packed: it was changed or damaged, so hand over"
                " the package again."
            )


def metadata(folder: Path) -> dict[str, Any]:
    """Returns a package's metadata.json. Raises Refused where it is not one's."""
    try:
        found = json.loads(_read(folder / "metadata.json", folder.name))
        is_whole = all(key in found["preprocessing"] for key in ("height", "width", "color"))
        if is_whole and all(isinstance(name, str) for name in found["classes"]) and found["classes"]:
            return dict(found)
    except (ValueError, KeyError, TypeError):
        pass
    raise Refused(
        "The package's metadata.json names no classes, or not how pictures are fed: hand over the package"
        " again."
    )


def try_out(folder: Path) -> str:
    """Runs the package's verify.py on its golden pictures and returns what it says. Raises Refused where the
    answers are others than on the machine that made it.
    """
    try:
        ran = subprocess.run(
            [sys.executable, "-B", "verify.py", "--threads", "1"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_S,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"The package's verify.py did not end within {TRIAL_S} s.") from None
    said = ((ran.stdout + ran.stderr).strip().splitlines() or ["nothing"])[-1][:300]
    if ran.returncode != 0:
        raise Refused(f"The package's verify.py failed here and said: {said}")
    return said


def environment() -> dict[str, str]:
    """Returns what a package's own code sees of the environment: no password of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("EDGEWISE_", "PYTHON"))}


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise Refused(
            f"{name} is no package: it has no {path.name}; give the zip that Edgewise made, or its folder."
        ) from None


def _listed(sums: bytes, name: str) -> dict[str, str]:
    """Returns the digest of each file that the sums list. Raises Refused for what no package has."""
    found: dict[str, str] = {}
    for line in sums.decode("utf-8", "replace").splitlines():
        digest, _, path = line.partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", digest) or not PATH.fullmatch(path) or path in found:
            raise Refused(f"{name} is no package: its {SUMS} has a line that no package has.")
        found[path] = digest
    lacking = [path for path in NEEDED if path not in found]
    if lacking or len(found) > MOST_FILES:
        raise Refused(
            f"{name} is no package that a station runs: it lists {len(found)} files, without {lacking}."
        )
    return found


def _copy_folder(source: Path, target: Path) -> None:
    sums = _read(source / SUMS, source.name)
    (target / SUMS).write_bytes(sums)
    for path in _listed(sums, source.name):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / path, target / path)
        except OSError:
            raise Refused(f"{source.name} lacks {path}: hand over the package again.") from None


def _unpack(package: Path, target: Path) -> None:
    """Writes the entries of a zip that are exactly what its sums list, as plain files, within a budget."""
    name, left = package.name, MOST_BYTES
    try:
        with zipfile.ZipFile(package) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES or SUMS not in archive.namelist():
                raise Refused(f"{name} is no package: give the zip that Edgewise made.")
            sums = _entry(archive, archive.getinfo(SUMS), 10_000_000)
            if sorted(e.filename for e in entries) != sorted([*_listed(sums, name), SUMS]):
                raise Refused(
                    f"{name} does not hold just what its {SUMS} lists: hand over the package again."
                )
            for entry in entries:
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise Refused(f"{name} holds a link ({entry.filename}): hand over the package again.")
                content = _entry(archive, entry, left)
                left -= len(content)
                (target / entry.filename).parent.mkdir(parents=True, exist_ok=True)
                (target / entry.filename).write_bytes(content)
    except FileNotFoundError:
        raise Refused(
            f"There is no package {package}: give the zip that Edgewise made, or its folder."
        ) from None
    except UNREADABLE as error:
        raise Refused(f"{name} can't be unpacked ({str(error)[:80]}): copy the package again.") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """Returns an entry's bytes; what it says of its own size is not believed."""
    with archive.open(entry) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise Refused(f"{entry.filename[:60]} unpacks to more than a package holds.")
    return content
