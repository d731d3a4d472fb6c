"""The files of a ZIP or a folder, named and read without ever being unpacked; whatever looks hostile is
refused.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.device.image import NoPicture
from engine.errors import BadInput, shortened
from engine.store.zips import directory_bytes

MOST_FILES = 200_000
MOST_FILE_BYTES = 64_000_000
MOST_TOTAL_BYTES = 20_000_000_000
MOST_RATIO = 100
# Below this a good ratio proves nothing: a few white bitmaps shrink a thousandfold.
RATIO_COUNTS_FROM_BYTES = 100_000_000
MOST_NAME_CHARACTERS = 1_000
MOST_DIRECTORY_BYTES = 100_000_000


@dataclass(frozen=True)
class Entries:
    """The files of a data set: their names, with "/" between folders, in order, and how to read one."""

    names: tuple[str, ...]
    read: Callable[[str], bytes]


@contextmanager
def opened(source: Path) -> Iterator[Entries]:
    """List and open a ZIP or a folder.

    `read` raises NoPicture for a file that is damaged or too large. Raises BadInput for what is neither ZIP
    nor folder, and for links, encryption, duplicates, bad names, too many files, too much data or too good a
    ratio.
    """
    if source.is_dir():
        yield _of_folder(source)
        return
    if not source.is_file():
        raise BadInput(
            f"'{source.name}' is neither a file nor a folder: give a ZIP or a folder of class folders."
        )
    _check_directory_size(source)
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise BadInput(f"'{source.name}' is no readable ZIP archive ({error}): pack it again.") from None
    with archive:
        yield _of_archive(archive, source)


def _of_folder(source: Path) -> Entries:
    names = []
    for folder, subfolders, files in os.walk(source):
        for name in (*subfolders, *files):
            if (Path(folder) / name).is_symlink():
                raise BadInput(
                    f"'{source.name}' holds a link ('{name}'): replace links by the files themselves."
                )
        names += [(Path(folder) / name).relative_to(source).as_posix() for name in files]
        _check_count(source, len(names))
        subfolders.sort()

    def read(name: str) -> bytes:
        path = source / name
        if not path.is_file() or path.stat().st_size > MOST_FILE_BYTES:
            raise NoPicture(f"is larger than {MOST_FILE_BYTES // 10**6} MB, or no file")
        try:
            return path.read_bytes()
        except OSError as error:
            raise NoPicture(f"can't be read ({type(error).__name__})") from None

    return Entries(tuple(sorted(names)), read)


def _of_archive(archive: zipfile.ZipFile, source: Path) -> Entries:
    _check_archive(archive.infolist(), source)
    files = {_name_of(info): info for info in archive.infolist() if not _name_of(info).endswith("/")}

    def read(name: str) -> bytes:
        info = files[name]
        if info.file_size > MOST_FILE_BYTES:
            raise NoPicture(f"is larger than {MOST_FILE_BYTES // 10**6} MB")
        try:
            return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise NoPicture(f"is damaged in the archive ({type(error).__name__})") from None

    return Entries(tuple(sorted(files)), read)


def _name_of(info: zipfile.ZipInfo) -> str:
    """Returns an entry's name with "/" between folders and its letters as its packer meant them.

    Old Windows tools write "\\"; some packers write UTF-8 without saying so, which then reads as code page
    437.
    """
    name = info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name if "/" in name else name.replace("\\", "/")


def _check_archive(infos: list[zipfile.ZipInfo], source: Path) -> None:
    """Raise BadInput for the first sign of an archive that is not what it should be."""
    _check_count(source, len(infos))
    seen, total, packed = set(), 0, 0
    for info in infos:
        name = _name_of(info)
        shown = repr(shortened(name, 80))
        if "\0" in info.orig_filename or _is_bad_name(name):
            raise BadInput(
                f"'{source.name}' holds the path {shown}, which leads elsewhere or is unusable: pack it anew."
            )
        if name in seen:
            raise BadInput(f"'{source.name}' holds {shown} twice: keep one of the two.")
        seen.add(name)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BadInput(f"'{source.name}' holds a link ({shown}): replace links by the files themselves.")
        if info.flag_bits & 0x1:
            raise BadInput(f"'{source.name}' is encrypted: pack it again without a password.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInput(
                f"'{source.name}' is packed by a rare method: pack it again as an ordinary ZIP (deflate)."
            )
        total, packed = total + info.file_size, packed + info.compress_size
    if total > MOST_TOTAL_BYTES:
        raise BadInput(
            f"'{source.name}' unpacks to {total / 1e9:.0f} GB; at most {MOST_TOTAL_BYTES // 10**9} GB are"
            " taken."
        )
    on_disk = source.stat().st_size
    if packed > on_disk or (total > RATIO_COUNTS_FROM_BYTES and total > MOST_RATIO * on_disk):
        raise BadInput(
            f"'{source.name}' unpacks to far more than its size explains, as no set of pictures does."
        )


def _is_bad_name(name: str) -> bool:
    parts = name.split("/")
    return (
        not name.strip()
        or len(name) > MOST_NAME_CHARACTERS
        or not name.isprintable()
        or "\\" in name
        or ":" in parts[0]
        or not all(part.strip() for part in parts[:-1])
        or ".." in parts
    )


def _check_count(source: Path, count: int) -> None:
    if count > MOST_FILES:
        raise BadInput(f"'{source.name}' holds more than {MOST_FILES:,} files: give a smaller selection.")


def _check_directory_size(source: Path) -> None:
    """Refuse a huge table of contents before all of it is read into memory."""
    try:
        size = directory_bytes(source)
    except OSError as error:
        raise BadInput(f"'{source.name}' can't be read ({type(error).__name__}): check the path.") from None
    if size > MOST_DIRECTORY_BYTES:
        raise BadInput(f"'{source.name}' lists far too many files: give a smaller selection.")
