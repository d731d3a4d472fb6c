"""PyTorch's files read without PyTorch; the pickle inside goes through torch_pickle.py, so nothing in it can
run.

`read` returns dicts, lists, numbers, `Tensor`s and `Record`s (a module: the name of its class and its
attributes).
Layouts: a ZIP with data.pkl (torch >= 1.6), and the older stream of pickles followed by raw storages.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BadInput
from engine.formats.limits import MAX_VALUES
from engine.formats.torch.pickle import MAX_PICKLE, STORAGES, Storage, advice, load, opcodes
from engine.store import zips as archives

MAX_TENSORS = 50_000
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass
class TorchFile:
    """What was read: the pickled value."""

    value: Any


def read(path: str | Path) -> TorchFile:
    """Reads a state dict, checkpoint or module. Raises BadInput for anything damaged, foreign or not
    allowed.
    """
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    return _read_zip(Path(path)) if is_zip else _read_legacy(Path(path))


def _new_storage(identity: tuple) -> Storage:
    kind, key, device, count = identity[1:5]
    if (
        kind not in STORAGES.values()
        or not isinstance(key, str)
        or not isinstance(count, int)
        or not 0 <= count <= MAX_VALUES * 2
    ):
        raise BadInput(
            "The file names a storage of an unknown kind or an absurd size: export the file again."
        )
    return Storage(kind, key, count, str(device))


def _width(kind: str) -> int:
    return 2 if kind == "bfloat16" else np.dtype(kind).itemsize


def _read_zip(path: Path) -> TorchFile:
    storages: dict[str, Storage] = {}
    with archives.open_checked(path) as archive:
        names = set(archive.namelist())
        pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise BadInput(f"The file has {len(pickles)} pickles where PyTorch writes one: {advice()}")
        root = pickles[0].removesuffix("data.pkl")
        if root + "byteorder" in names and archives.read_entry(archive, root + "byteorder", 16) == b"big":
            raise BadInput(f"The file was saved on a big-endian machine: {advice()}")

        def storage(identity: tuple) -> Storage:
            made = _new_storage(identity)
            if made.key not in storages:
                _check_total(storages, made)
                size = made.count * _width(made.dtype)
                made.data = archives.read_entry(archive, f"{root}data/{made.key}", size)
                if len(made.data) < size:
                    raise BadInput("A tensor's values are cut off: export or copy the file again.")
                storages[made.key] = made
            return storages[made.key]

        data = archives.read_entry(archive, pickles[0], MAX_PICKLE)
        stream = io.BytesIO(data)
        for _ in opcodes(stream):
            pass
        if stream.tell() != len(data):
            raise BadInput(
                f"The pickle inside goes on behind its end, where PyTorch writes nothing: {advice()}"
            )
        value = load(io.BytesIO(data), storage)
    return TorchFile(value)


def _read_legacy(path: Path) -> TorchFile:
    size = path.stat().st_size
    if size > archives.MAX_BYTES:
        raise BadInput(
            f"The file has {size / 1e6:,.0f} MB; at most {archives.MAX_BYTES / 1e6:,.0f} MB are taken."
        )
    stream = io.BytesIO(path.read_bytes())
    for _ in range(5):  # magic, version, system, the value, the storages' order
        for _ in opcodes(stream):
            pass
    end, storages = stream.tell(), {}
    stream.seek(0)

    def storage(identity: tuple) -> Storage:
        made = _new_storage(identity)
        if len(identity) > 5 and identity[5] is not None:
            raise BadInput(
                f"The file uses views of storages, as only the earliest versions of PyTorch did: {advice()}"
            )
        if made.key not in storages:
            _check_total(storages, made)
            storages[made.key] = made
        return storages[made.key]

    for _ in range(3):
        load(stream, storage)
    value, order = load(stream, storage), load(stream, storage)
    if stream.tell() != end or not isinstance(order, list):
        raise BadInput("The stored tensors' order can't be read: export or copy the file again.")
    for key in order:
        _fill(storages.get(key) if isinstance(key, str) else None, stream)
    if stream.read(1):
        raise BadInput(f"The file goes on behind its last tensor, where PyTorch writes nothing: {advice()}")
    if any(len(s.data) != s.count * _width(s.dtype) for s in storages.values()):
        raise BadInput("A tensor's values are cut off: export or copy the file again.")
    return TorchFile(value)


def _fill(storage: Storage | None, stream: io.BytesIO) -> None:
    header = stream.read(8)
    if storage is None or len(header) < 8 or struct.unpack("<q", header)[0] != storage.count:
        raise BadInput("The stored tensors don't match their list: export or copy the file again.")
    storage.data = stream.read(storage.count * _width(storage.dtype))


def _check_total(storages: dict[str, Storage], new: Storage) -> None:
    total = new.count + sum(storage.count for storage in storages.values())
    if len(storages) >= MAX_TENSORS or total > MAX_VALUES * 2:
        raise BadInput(
            f"The file holds {total:,} values in {len(storages) + 1:,} tensors, more than an edge device's "
            "classifier can have: save the weights alone, without the optimizer's state."
        )


def check(path: Path) -> None:
    """Reads the whole file as inert records, which is the check. Raises BadInput."""
    read(path)
