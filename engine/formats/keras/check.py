"""Keras files checked before Keras sees them: HDF5 links, shapes and storage here, layers in config.py.

`.h5` holds the configuration as an attribute, `.keras` is a ZIP of config.json and an HDF5 file of weights.
"""

import io
import math
from pathlib import Path
from typing import Any

import h5py

from engine.errors import BadInput, shortened
from engine.formats import refused
from engine.formats.keras.config import ADVICE, MAX_CONFIG, check_config, parse
from engine.formats.limits import MAX_VALUES
from engine.store import zips as archives

MAX_CHUNK = 16_000_000  # bytes that are read at once, however little of them is used
MAX_OBJECTS, MAX_DEPTH = 50_000, 40
ENTRIES = {"config.json", "metadata.json", "model.weights.h5"}


def check(path: Path) -> None:
    """Checks an `.h5` or `.keras` file. Raises BadInput with the first thing wrong."""
    with open(path, "rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    config, dims = _of_zip(path) if is_zip else _of_hdf5(path)
    check_config(config, dims)


def _of_zip(path: Path) -> tuple[dict, set[int]]:
    with archives.open_checked(path) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        if extra := sorted(names - ENTRIES):
            raise BadInput(
                f"The .keras file holds '{extra[0][:60]}', which a classifier does not need: {ADVICE}"
            )
        if missing := sorted(ENTRIES - names):
            raise BadInput(f"The .keras file lacks '{missing[0]}': {ADVICE}")
        config = parse(archives.read_entry(archive, "config.json", MAX_CONFIG))
        weights = archives.read_entry(archive, "model.weights.h5", 4 * MAX_VALUES)
    return config, _check_file(io.BytesIO(weights), len(weights))[0]


def _of_hdf5(path: Path) -> tuple[dict, set[int]]:
    dims, attributes = _check_file(path, path.stat().st_size)
    if "model_config" not in attributes:
        raise refused.refusal(
            "keras_weights" if "layer_names" in attributes or "keras_version" in attributes else "hdf5"
        )
    return parse(attributes["model_config"]), dims


def _check_file(source: Any, size: int) -> tuple[set[int], dict]:
    """Walks every object of an HDF5 file; returns all sizes that stored weights have, and the root's
    attributes.
    """
    try:
        with h5py.File(source, "r") as file:
            dims, seen = {1}, set()
            total = _walk(file, seen, dims, size, 0)
            if total > MAX_VALUES:
                raise BadInput(
                    f"The Keras file holds {total:,} values, more than an edge device's classifier can have: "
                    "choose a smaller model."
                )
            return dims, {
                name: file.attrs[name] if name == "model_config" else None
                for name in ("model_config", "layer_names", "keras_version")
                if name in file.attrs
            }
    except BadInput:
        raise
    except Exception as error:  # the HDF5 library reports damage through many classes
        raise BadInput(f"The HDF5 file is damaged ({shortened(error, 100)}): {ADVICE}") from None


def _walk(group: h5py.Group, seen: set, dims: set[int], size: int, depth: int) -> int:
    if depth > MAX_DEPTH or len(seen) > MAX_OBJECTS:
        raise BadInput(f"The HDF5 file is nested too deeply or holds too many objects: {ADVICE}")
    total = 0
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
            raise BadInput(
                f"The HDF5 file holds {kind} link ('{name[:60]}'), which could lead to any file: {ADVICE}"
            )
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise BadInput(f"The HDF5 file links '{name[:60]}' twice, perhaps in a circle: {ADVICE}")
        seen.add(address)
        if isinstance(item, h5py.Group):
            total += _walk(item, seen, dims, size, depth + 1)
        elif isinstance(item, h5py.Dataset):
            total += _check_dataset(name[:60], item, dims, size)
        else:
            raise BadInput(
                f"The HDF5 file holds a named type ('{name[:60]}'), which no Keras model has: {ADVICE}"
            )
    return total


def _check_dataset(name: str, item: h5py.Dataset, dims: set[int], size: int) -> int:
    if item.external or item.id.get_create_plist().get_external_count():
        raise BadInput(
            f"The values of '{name}' lie outside the HDF5 file, which could name any file of this machine:"
            f" {ADVICE}"
        )
    if item.is_virtual:
        raise BadInput(f"The values of '{name}' are gathered from other files: {ADVICE}")
    if item.dtype.kind not in "fiubS" or item.dtype.itemsize > 1_000_000:
        raise BadInput(f"The values of '{name}' in the HDF5 file are no numbers: {ADVICE}")
    if item.shape is None:
        return 0
    count = math.prod(item.shape)
    held, bytes_ = item.id.get_storage_size(), count * item.dtype.itemsize
    chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
    if bytes_ > (200 if item.compression else 1) * min(held, size) or chunk > max(MAX_CHUNK, bytes_):
        raise BadInput(
            f"'{name}' has the shape {list(item.shape)[:8]}, far more than the file stores: {ADVICE}"
        )
    if set(_filters(item)) - {1, 2, 3}:  # gzip, shuffle, checksum: what HDF5 itself brings
        raise BadInput(f"The values of '{name}' are compressed with a plug-in: {ADVICE}")
    dims.update(int(value) for value in item.shape)
    return max(count, bytes_ // 4)


def _filters(item: h5py.Dataset) -> list[int]:
    plan = item.id.get_create_plist()
    return [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
