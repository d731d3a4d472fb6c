"""safetensors: a JSON header and raw numbers; nothing in it can run, so only its shape is checked.

Source: the format's description, https://github.com/huggingface/safetensors#format.
"""

import json
import math
import re
import struct
from pathlib import Path

from engine.errors import BadInput, shortened
from engine.formats.limits import MAX_VALUES
from engine.formats.torch.check import MAX_TENSORS

MAX_HEADER = 20_000_000
BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
}


def stated_size(path: Path) -> tuple[int, int] | None:
    """Returns the height and width of images that a checked file's notes name (`input_size`: "64x48"), if
    any.
    """
    with open(path, "rb") as stream:
        notes = _parse(stream.read(struct.unpack("<Q", stream.read(8))[0])).get("__metadata__", {})
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", notes.get("input_size", ""))
    return (int(found[1]), int(found[2])) if found else None


def check(path: Path) -> dict[str, tuple[int, ...]]:
    """Checks header, kinds, shapes and offsets; returns each tensor's shape, in the file's order.

    Raises BadInput for anything that the format does not allow, and for more values than a classifier has.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        length = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))[0]
        if length > min(size - 8, MAX_HEADER):
            raise BadInput(
                "The safetensors header is longer than the file or 20 MB: export or copy the file again."
            )
        header = _parse(stream.read(length))
    notes = header.get("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise BadInput("The notes in the safetensors header are no plain text: export the file again.")
    shapes, spans = {}, []
    for name, entry in header.items():
        if name != "__metadata__":
            shapes[name], span = _check_entry(name, entry, size - 8 - length)
            spans.append((span, name))
    if not shapes:
        raise BadInput("The safetensors file holds no tensor: save the model's state_dict into it.")
    if len(shapes) > MAX_TENSORS or sum(math.prod(shape) for shape in shapes.values()) > MAX_VALUES:
        raise BadInput(
            f"The safetensors file holds more than {MAX_VALUES / 1e6:.0f} million values, more than an edge "
            "device's classifier can have: choose a smaller model."
        )
    _check_spans(sorted(spans), size - 8 - length)
    return shapes


def _parse(text: bytes) -> dict:
    def unique(pairs: list[tuple[str, object]]) -> dict:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"The safetensors header is no valid JSON ({shortened(error, 80)}): export the file again."
        ) from None
    if not isinstance(header, dict):
        raise BadInput("The safetensors header is no JSON object: export the file again.")
    return header


def _check_entry(name: str, entry: object, data: int) -> tuple[tuple[int, ...], tuple[int, int]]:
    wrong = BadInput(
        f"The tensor '{name[:60]}' of the safetensors file has an impossible kind, shape or place: "
        "export the file again."
    )
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in BITS:
        raise BadInput(
            f"The tensor '{name[:60]}' is of kind {str(kind)[:20]}, which is not taken: save it as float32."
        )
    for numbers in (shape, offsets):
        if (
            not isinstance(numbers, list)
            or len(numbers) > 8
            or any(type(n) is not int or not 0 <= n < 2**40 for n in numbers)
        ):
            raise wrong
    if (
        len(offsets) != 2
        or not offsets[0] <= offsets[1] <= data
        or offsets[1] - offsets[0] != math.prod(shape) * BITS[kind] // 8
    ):
        raise wrong
    return tuple(shape), tuple(offsets)


def _check_spans(spans: list[tuple[tuple[int, int], str]], data: int) -> None:
    place = 0
    for (start, end), name in spans:
        if start != place:
            raise BadInput(
                f"The tensor '{name[:60]}' of the safetensors file overlaps another or leaves a gap: "
                "export the file again."
            )
        place = end
    if place != data:
        raise BadInput("The safetensors file has bytes that belong to no tensor: export the file again.")
