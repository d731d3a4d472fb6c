"""Model files: what is it (`recognise`), may it be opened (`check`). Neither runs or loads anything.

`recognise` goes by content, never by name, and imports no framework. `check` may import h5py, onnx and
torch's class names to parse, so it
belongs behind the wall like what opens the files: pytorch.py, keras.py, onnx.py, tflite.py.
"""

import pickletools
import re
import struct
from pathlib import Path

from engine.errors import BadInput
from engine.formats import refused

__all__ = ["ACCEPTED", "recognise", "check"]

ACCEPTED = (
    "safetensors",
    "state_dict",
    "torch_module",
    "torchscript",
    "onnx",
    "keras_v3",
    "keras_h5",
    "saved_model",
    "tflite",
)
HEAD = 1 << 16

MAGIC = (
    (b"\x89HDF\r\n\x1a\n", "keras_h5"),
    (b"GGUF", "gguf"),
    (b"ggml", "ggml"),
    (b"lmgg", "ggml"),
    (b"tjgg", "ggml"),
    (b"fmgg", "ggml"),
    (b"ptrt", "tensorrt"),
    (b"ftrt", "tensorrt"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\0", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x93NUMPY", "npy"),
    (b"MATLAB 5.0", "matlab"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"RIFF", "image"),
    (b"BM", "image"),
    (b"%PDF", "pdf"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
    (b"\xcf\xfa\xed\xfe", "program"),
    (b"\xca\xfe\xba\xbe", "program"),
    (b"version https://git-lfs", "lfs"),
    (b"7767517", "ncnn"),
    (b"ZF", "joblib"),
    (b"\x78\x9c", "joblib"),
    (b"\x78\x01", "joblib"),
    (b"\x78\xda", "joblib"),
)


def recognise(path: str | Path) -> str:
    """Returns the format of a file: one of ACCEPTED, or a key of `refused.KINDS`.

    Reads the first 64 KB, and the directory and pickle of a ZIP. Raises BadInput for a damaged container.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        head = stream.read(HEAD)
    if not head.strip(b"\0 \r\n\t"):
        return "empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(path)
    if head[4:8] in (b"TFL3", b"ORTM"):
        return {b"TFL3": "tflite", b"ORTM": "ort"}[head[4:8]]
    if _is_safetensors(head, path.stat().st_size):
        return "safetensors"
    if len(head) > 265 and head[257:262] == b"ustar":
        return "torch_tar" if b"storages" in head[:512] or b"sys_info" in head[:512] else "tar"
    if pickled := _pickle(path, head):
        return pickled
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    return _protobuf(path, head) or _text(head) or "unknown"


def check(path: str | Path, format: str) -> None:
    """Checks a file of an accepted format before anything loads it; refuses every other format.

    Raises BadInput with one sentence: what is wrong, why, what to do.
    """
    path = Path(path)
    if format not in ACCEPTED:
        raise refused.refusal(format)
    if format == "safetensors":
        from engine.formats.torch import safetensors as checker
    elif format == "state_dict":
        from engine.formats.torch import check as checker
    elif format == "torch_module":
        from engine.formats.torch import modules as checker
    elif format == "torchscript":
        from engine.formats.torch import script as checker
    elif format == "onnx":
        from engine.formats.onnx import check as checker
    elif format in ("keras_v3", "keras_h5"):
        from engine.formats.keras import check as checker
    elif format == "saved_model":
        from engine.formats.keras import saved_model as checker
    else:
        from engine.formats.tflite import check as checker
    checker.check(path)


def _zip(path: Path) -> str:
    from engine.store import zips as archives

    with archives.open_checked(path) as archive:
        names = archive.namelist()
        tails = {name.split("/", 1)[-1] for name in names}
        if any(tail in tails for tail in ("serialized_exported_program.json", "archive_format")) or any(
            re.search(r"(^|/)models/\w+\.json$", name) for name in names
        ):
            return "pt2"
        if "constants.pkl" in tails and any("/code/" in f"/{name}" for name in names):
            return "torchscript"
        pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if pickles:
            return _state_or_module(archives.read_entry(archive, pickles[0], 100_000_000))
    if {"config.json", "metadata.json"} <= set(names):
        return "keras_v3"
    if any(re.search(r"(^|/)saved_model\.pb$", name) for name in names):
        return "saved_model"
    return _other_zip(names)


def _other_zip(names: list[str]) -> str:
    files = [name.lower() for name in names if not name.endswith("/")]
    if any("mar-inf/" in name for name in files):
        return "torch_archive"
    if any(
        name.endswith((".mlmodel", ".mlpackage/manifest.json")) or name == "manifest.json" for name in files
    ):
        return "coreml"
    if files and all(name.endswith(".npy") for name in files):
        return "npz"
    if any(name in ("[content_types].xml", "androidmanifest.xml", "meta-inf/manifest.mf") for name in files):
        return "office"
    images = sum(
        name.endswith((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")) for name in files
    )
    return "images_zip" if images and images >= len(files) / 2 else "zip"


def _pickle(path: Path, head: bytes) -> str | None:
    from engine.formats.torch import check as torchfile
    from engine.formats.torch import pickle as torch_pickle

    if head.startswith(torchfile.LEGACY_MAGIC):
        with open(path, "rb") as stream:
            data = stream.read(torch_pickle.MAX_PICKLE)
        try:
            start = _after_pickles(data, 3)
        except (ValueError, UnicodeError, IndexError, struct.error):
            raise BadInput(
                "The file begins like one of PyTorch and is damaged: export or copy it again."
            ) from None
        return _state_or_module(data[start:])
    if not re.match(rb"(\x80[\x02-\x05]|\(?[ci][\w.]+\n[\w.]+\n|\([dlt]p?\d*\n)", head):
        return None
    names = " ".join(name for name in _globals_until_damage(head))
    return "joblib" if re.search(r"\b(joblib|sklearn|numpy|xgboost|lightgbm|scipy)\b", names) else "pickle"


def _after_pickles(data: bytes, count: int) -> int:
    place = 0
    for _ in range(count):
        for _, _, offset in pickletools.genops(data[place : place + 4096]):
            last = offset
        place += last + 1
    return place


def _globals_until_damage(data: bytes) -> list[str]:
    found, strings = [], []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("GLOBAL", "INST"):
                found.append(argument.replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                found.append(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except (ValueError, UnicodeError, IndexError, struct.error):
        pass
    return found


def _state_or_module(data: bytes) -> str:
    """A module's pickle names the classes of layers; a state dict's names only tensors and what options
    need.
    """
    plain = re.compile(
        r"(torch\.(?!nn\.modules)|torch\._utils|collections|numpy|_codecs|argparse|builtins|__builtin__|pathlib)"
    )
    from engine.formats.torch import pickle as torch_pickle

    return (
        "state_dict" if all(plain.match(name) for name in torch_pickle.globals_of(data)) else "torch_module"
    )


def _is_safetensors(head: bytes, size: int) -> bool:
    return (
        len(head) > 9
        and head[8:9] == b"{"
        and head[9:10] in b'" }\n'
        and 2 <= struct.unpack("<Q", head[:8])[0] < max(2**40, size)
    )


def _protobuf(path: Path, head: bytes) -> str | None:
    """ONNX, Core ML and TensorFlow graphs have no magic: the fields at the top level tell them apart."""
    fields = _top_fields(path)
    if not fields:
        return None
    if (
        fields.get(7) == 2
        and fields.get(1, 0) == 0
        and set(fields) <= {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
    ):
        return "onnx"
    if fields.get(1) == 0 and any(200 <= number <= 3000 for number in fields):
        return "coreml"
    if fields.get(1) == 0 and fields.get(2) == 2 and set(fields) == {1, 2}:
        return "saved_model_pb"
    if fields.get(1) == 2 and set(fields) <= {1, 2, 3, 4} and b"\x12" in head[:200]:
        return "caffe" if fields.get(2) == 2 and 3 not in fields else "frozen_graph"
    return "caffe" if fields.get(100) == 2 and set(fields) <= {1, 2, 3, 4, 5, 6, 7, 8, 100} else None


def _top_fields(path: Path) -> dict[int, int]:
    """Returns field number to wire type of a protobuf message; empty when the bytes are none."""
    found, size = {}, path.stat().st_size
    with open(path, "rb") as stream:
        for _ in range(100_000):
            tag = _varint(stream)
            if tag is None:
                return found if stream.tell() == size else {}
            number, wire = tag >> 3, tag & 7
            found[number] = wire
            if number == 0 or wire not in (0, 1, 2, 5):
                return {}
            length = _varint(stream) if wire in (0, 2) else {1: 8, 5: 4}[wire]
            if length is None or (wire != 0 and stream.tell() + length > size):
                return {}
            if wire != 0:
                stream.seek(length, 1)
    return found


def _varint(stream) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _text(head: bytes) -> str | None:
    try:
        text = head[:4096].decode("utf-8", "strict" if len(head) < 4096 else "ignore").lstrip("\ufeff \r\n\t")
    except UnicodeError:
        return None
    if any(ord(letter) < 9 for letter in text):
        return None
    if re.match(r"<!doctype html|<html", text, re.I):
        return "html"
    if text.startswith("<?xml") or text.startswith("<net "):
        return "openvino" if "<net " in text else "text"
    if text.startswith(("{", "[")):
        return (
            "keras_json" if re.search(r'"class_name"\s*:\s*"(Sequential|Functional|Model)"', text) else "json"
        )
    if re.match(r"(#!.*python|import \w|from [\w.]+ import|def \w+\(|class \w+)", text):
        return "python"
    return "caffe" if re.match(r'(name:\s*"|layer\s*\{|input:\s*")', text) else "text"
