"""ZIP files that models come in: what one must look like before anything in it is read."""

import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from engine.errors import BadInput, shortened

MAX_ENTRIES = 20_000
UNREADABLE = (
    KeyError,
    RuntimeError,
    NotImplementedError,
    OSError,
    EOFError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
MAX_DIRECTORY = 10_000_000
MAX_BYTES = 2_000_000_000
MAX_RATIO = 200
SMALL = 1_000_000  # below this, a high ratio is a text file or zeros, not a bomb


def open_checked(path: str | Path) -> zipfile.ZipFile:
    """Opens a ZIP whose directory was checked: count, total, ratio, overlaps, paths, links, encryption,
    duplicates.

    Raises BadInput, with one sentence that names the first thing wrong.
    """
    size = directory_bytes(path)
    if size > MAX_DIRECTORY:
        raise BadInput(
            f"The ZIP container's list of entries has {size / 1e6:,.0f} MB, more than any model"
            " needs: export the model again."
        )
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadInput(
            f"The ZIP container is damaged ({shortened(error, 80)}): export or copy the file again."
        ) from None
    try:
        _check_directory(archive, os.path.getsize(path))
    except BadInput:
        archive.close()
        raise
    return archive


def directory_bytes(path: str | Path) -> int:
    """Returns how large a ZIP says that its table of contents is, before all of it is read into memory.

    It stands in the end record, and in the ZIP64 one before it, within the file's last 65,557 + 76 bytes; 0
    where there is none. Raises OSError.
    """
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 66_000))
        tail = file.read()
    sizes = [0]
    for mark, layout, offset in ((b"PK\x05\x06", "<L", 12), (b"PK\x06\x06", "<Q", 40)):
        place = tail.rfind(mark)
        if place >= 0 and place + offset + struct.calcsize(layout) <= len(tail):
            size = struct.unpack_from(layout, tail, place + offset)[0]
            if size != 0xFFFFFFFF:  # then the ZIP64 record has it
                sizes.append(size)
    return max(sizes)


def read_entry(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Returns one entry's bytes, at most `limit`; what it says of its own size is not believed. Raises
    BadInput.
    """
    try:
        with archive.open(name) as stream:
            data = stream.read(limit + 1)
    except UNREADABLE as error:
        raise BadInput(
            f"The entry '{name[:60]}' of the ZIP container can't be read ({shortened(error, 80)}): export the"
            " file again."
        ) from None
    if len(data) > limit:
        raise BadInput(
            f"The entry '{name[:60]}' of the ZIP container is larger than {limit / 1e6:.0f} MB, "
            "which no such model needs: export the file again."
        )
    return data


def unpack_entry(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Writes one entry of a checked archive to a file. Raises BadInput when it can't be read."""
    try:
        with archive.open(name) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except UNREADABLE as error:
        raise BadInput(
            f"The entry '{name[:60]}' of the ZIP container can't be unpacked ({shortened(error, 80)}): export"
            " the file again."
        ) from None


def _check_directory(archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise BadInput(
            f"The ZIP container lists {len(entries):,} entries; a model has at most {MAX_ENTRIES:,}."
        )
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BYTES:
        raise BadInput(
            f"The ZIP container unpacks to {total / 1e6:,.0f} MB; at most {MAX_BYTES / 1e6:,.0f} MB are"
            " taken."
        )
    if sum(entry.compress_size for entry in entries) > size or len(
        {entry.header_offset for entry in entries}
    ) < len(entries):
        raise BadInput(
            "Entries of the ZIP container share their bytes, like a decompression bomb's: export the model"
            " again."
        )
    if min((entry.header_offset for entry in entries), default=0) > 0:
        raise BadInput(
            "The ZIP container has something before its first entry, so readers may disagree on what is in"
            " it: export the model again."
        )
    seen = set()
    for entry in entries:
        _check_entry(entry)
        if entry.filename in seen:
            raise BadInput(
                f"The ZIP container lists '{entry.filename[:60]}' twice, so readers may disagree on what is"
                " in it: export the file again."
            )
        seen.add(entry.filename)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if entry.flag_bits & 0x1:
        raise BadInput("The ZIP container is encrypted: save the model without a password.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadInput(
            f"The ZIP container holds a link ('{name[:60]}'), which could point anywhere: pack the file"
            " itself."
        )
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.split("/")[0] or "\0" in name:
        raise BadInput(
            f"The ZIP container holds the path '{name[:60]}', which leads out of it: pack the files anew."
        )
    if entry.file_size > SMALL and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        raise BadInput(
            f"The entry '{name[:60]}' unpacks to more than {MAX_RATIO} times its size, like a decompression"
            " bomb: export the model again."
        )
