"""Seeded damage to harmless files: cut off, bits turned over, bytes replaced, pieces moved, sizes
exaggerated.
"""

import io
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

from tests.hostile import goods

EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**32,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


def cut_offs(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields the file cut off at every tenth of its length, and short of its last byte."""
    for tenth in range(10):
        yield f"cut off at {tenth}0 %", data[: len(data) * tenth // 10]
    yield "without its last byte", data[:-1]


def mutations(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields `count` damaged copies; the same for the same seed. Half of the damage is done to the first and
    last 4 KB, where headers, directories and configurations lie."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        yield f"{kind.__name__} {seed}/{number}", kind(bytearray(data), rng)


def inside(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields `count` copies of a ZIP with one entry damaged and packed anew, so that its checksum is
    right.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if archive.getinfo(name).file_size}
    # the entries that describe are few among those that hold numbers, and the damage belongs there
    names = [name for name in entries if name.endswith((".json", ".pkl", ".py", ".pb", ".h5"))] or list(
        entries
    )
    for number in range(count):
        name = names[number % len(names)]
        for what, changed in mutations(entries[name], 1, seed * 100_000 + number):
            yield f"{name}: {what}", goods.rezip(data, {name: changed})


def _place(data: bytearray, rng: np.random.Generator) -> int:
    if rng.random() < 0.5:
        return int(rng.integers(len(data)))
    return (
        int(rng.integers(min(4096, len(data))))
        if rng.random() < 0.5
        else len(data) - 1 - int(rng.integers(min(4096, len(data))))
    )


def bits(data: bytearray, rng: np.random.Generator) -> bytes:
    """One to eight bits turned over."""
    for _ in range(int(rng.integers(1, 9))):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def noise(data: bytearray, rng: np.random.Generator) -> bytes:
    """A run of up to 64 bytes replaced by others."""
    place, length = _place(data, rng), int(rng.integers(1, 65))
    data[place : place + length] = rng.bytes(length)
    return bytes(data)


def extremes(data: bytearray, rng: np.random.Generator) -> bytes:
    """Four or eight bytes replaced by a number that sizes and offsets go wrong with."""
    raw = struct.pack("<Q", EXTREMES[int(rng.integers(len(EXTREMES)))])[: int(rng.choice([4, 8]))]
    place = _place(data, rng)
    data[place : place + len(raw)] = raw
    return bytes(data)


def moved(data: bytearray, rng: np.random.Generator) -> bytes:
    """A piece copied over another place."""
    length = int(rng.integers(1, 513))
    source, target = _place(data, rng), _place(data, rng)
    data[target : target + length] = data[source : source + length]
    return bytes(data)


def lost(data: bytearray, rng: np.random.Generator) -> bytes:
    """A piece taken out."""
    place, length = _place(data, rng), int(rng.integers(1, 257))
    del data[place : place + length]
    return bytes(data)


def doubled(data: bytearray, rng: np.random.Generator) -> bytes:
    """A piece put in twice."""
    place, length = _place(data, rng), int(rng.integers(1, 257))
    data[place:place] = data[place : place + length]
    return bytes(data)


KINDS = (bits, noise, extremes, moved, lost, doubled)
