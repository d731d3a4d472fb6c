"""Protobuf messages read without their description: numbers of fields, wire types, and bytes."""

from collections.abc import Iterator
from pathlib import Path

MOST_FIELDS = 100_000


def top_fields(path: Path) -> dict[int, int]:
    """Returns field number to wire type of the message that a file is; empty when the bytes are none."""
    found, size = {}, path.stat().st_size
    with open(path, "rb") as stream:
        for _ in range(MOST_FIELDS):
            place = stream.tell()
            head = stream.read(20)
            try:
                tag, used = varint(head, 0)
            except IndexError:
                return found
            except ValueError:
                return {}
            number, wire = tag >> 3, tag & 7
            if number == 0 or wire not in (0, 1, 2, 5):
                return {}
            found[number] = wire
            try:
                length, used = varint(head, used) if wire in (0, 2) else ({1: 8, 5: 4}[wire], used)
            except (IndexError, ValueError):
                return {}
            end = place + used + (length if wire else 0)
            if end > size:
                return {}
            stream.seek(end)
    return found


def fields(data: bytes, wanted: int) -> Iterator[bytes]:
    """Yields the length-delimited fields of that number; raises ValueError or IndexError when the bytes are
    no message.
    """
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        wire = tag & 7
        if wire == 0:
            _, place = varint(data, place)
        elif wire == 2:
            length, place = varint(data, place)
            if place + length > len(data):
                raise ValueError("cut off")
            if tag >> 3 == wanted:
                yield data[place : place + length]
            place += length
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise ValueError("wire type")


def number(data: bytes, wanted: int) -> int:
    """Returns a message's whole number of that field, 0 where it has none (or a negative one, which stands
    for an open size).
    """
    place, found = 0, 0
    while place < len(data):
        tag, place = varint(data, place)
        if tag & 7 == 0:
            value, place = varint(data, place)
            found = value if tag >> 3 == wanted and value < 2**63 else found
        elif tag & 7 == 2:
            length, place = varint(data, place)
            place += length
        else:
            raise ValueError("wire type")
    return found


def varint(data: bytes, place: int) -> tuple[int, int]:
    """Returns the number at `place` and the place behind it.

    Raises IndexError where the bytes end, ValueError where it is none.
    """
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("number")
