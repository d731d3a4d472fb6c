"""What is a file of no format that is taken? A key of `refused.KINDS`, by content."""

import pickletools
import re
import struct

from engine.formats.format import Start
from engine.formats.protobuf import top_fields

MAGIC = (
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


def recognise(start: Start) -> str:
    """Returns a key of `refused.KINDS`, "unknown" at the last."""
    head = start.head
    if not head.strip(b"\0 \r\n\t"):
        return "empty"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _other_zip(start.names)
    if head[4:8] == b"ORTM":
        return "ort"
    if len(head) > 265 and head[257:262] == b"ustar":
        return "torch_tar" if b"storages" in head[:512] or b"sys_info" in head[:512] else "tar"
    if pickled := _pickle(head):
        return pickled
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    return _protobuf(start) or _text(head) or "unknown"


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


def _pickle(head: bytes) -> str | None:
    if not re.match(rb"(\x80[\x02-\x05]|\(?[ci][\w.]+\n[\w.]+\n|\([dlt]p?\d*\n)", head):
        return None
    names = " ".join(_globals_until_damage(head))
    return "joblib" if re.search(r"\b(joblib|sklearn|numpy|xgboost|lightgbm|scipy)\b", names) else "pickle"


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


def _protobuf(start: Start) -> str | None:
    """Core ML, Caffe and TensorFlow graphs have no magic: the fields at the top level tell them apart."""
    fields = top_fields(start.path)
    if not fields:
        return None
    if fields.get(1) == 0 and any(200 <= number <= 3000 for number in fields):
        return "coreml"
    if fields.get(1) == 0 and fields.get(2) == 2 and set(fields) == {1, 2}:
        return "saved_model_pb"
    if fields.get(1) == 2 and set(fields) <= {1, 2, 3, 4} and b"\x12" in start.head[:200]:
        return "caffe" if fields.get(2) == 2 and 3 not in fields else "frozen_graph"
    return "caffe" if fields.get(100) == 2 and set(fields) <= {1, 2, 3, 4, 5, 6, 7, 8, 100} else None


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
