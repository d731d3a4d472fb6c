"""Which of PyTorch's files is this? By content; nothing is loaded, no torch imported."""

import pickletools
import re
import struct

from engine.errors import BadInput
from engine.formats.format import Start
from engine.formats.torch.check import LEGACY_MAGIC
from engine.formats.torch.pickle import MAX_PICKLE, globals_of
from engine.store import zips

# what a state dict's pickle names: tensors, and what options need; a module's names the classes of layers
OF_STATE = re.compile(
    r"(torch\.(?!nn\.modules|nn\.parallel|optim\.swa_utils)|torch\._utils|collections|numpy|_codecs|argparse"
    r"|builtins|__builtin__|pathlib)"
)


def recognise(start: Start) -> str | None:
    """Returns safetensors, state_dict, torch_module, torchscript, pt2, or None for any other file."""
    if _is_safetensors(start.head, start.size):
        return "safetensors"
    if start.names:
        return _of_zip(start)
    return _of_legacy(start) if start.head.startswith(LEGACY_MAGIC) else None


def _of_zip(start: Start) -> str | None:
    names = start.names
    tails = {name.split("/", 1)[-1] for name in names}
    if any(tail in tails for tail in ("serialized_exported_program.json", "archive_format")) or any(
        re.search(r"(^|/)models/\w+\.json$", name) for name in names
    ):
        return "pt2"
    if "constants.pkl" in tails and any("/code/" in f"/{name}" for name in names):
        return "torchscript"
    pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if not pickles:
        return None
    with zips.open_checked(start.path) as archive:
        return _state_or_module(zips.read_entry(archive, pickles[0], MAX_PICKLE))


def _of_legacy(start: Start) -> str:
    with open(start.path, "rb") as stream:
        data = stream.read(MAX_PICKLE)
    try:
        place = after_pickles(data, 3)
    except (ValueError, UnicodeError, IndexError, struct.error):
        raise BadInput(
            "The file begins like one of PyTorch and is damaged: export or copy it again."
        ) from None
    return _state_or_module(data[place:])


def after_pickles(data: bytes, count: int) -> int:
    """Returns the place behind that many small pickles. Raises what pickletools does at damage."""
    place = 0
    for _ in range(count):
        for _, _, offset in pickletools.genops(data[place : place + 4096]):
            last = offset
        place += last + 1
    return place


def _state_or_module(data: bytes) -> str:
    return "state_dict" if all(OF_STATE.match(name) for name in globals_of(data)) else "torch_module"


def _is_safetensors(head: bytes, size: int) -> bool:
    return (
        len(head) > 9
        and head[8:9] == b"{"
        and head[9:10] in b'" }\n'
        and 2 <= struct.unpack("<Q", head[:8])[0] < max(2**40, size)
    )
