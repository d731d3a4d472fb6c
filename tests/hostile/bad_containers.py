"""Bad ZIPs around every format that comes in one, and files of kinds that are recognised and not taken."""

import io
import pickle
import struct
import zipfile
from functools import partial

from tests.hostile import goods
from tests.hostile.bad_torch import call
from tests.hostile.case import Case

IN_ZIPS = ("state_zip", "module_zip", "script", "keras_v3", "saved_model")


def add(name: str, value: bytes = b"x", **attributes: object):
    """Appends an entry, its header's fields set as given."""

    def spoil(data: bytes) -> bytes:
        out = io.BytesIO(data)
        with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, field in attributes.items():
                setattr(info, key, field)
            archive.writestr(info, value)
        return out.getvalue()

    return spoil


def twice(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        first = archive.namelist()[0]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return add(first)(data)


def encrypted(data: bytes) -> bytes:
    """Sets the flag for encryption in the directory's first entry."""
    place = data.rindex(b"PK\x01\x02", 0, data.index(b"PK\x01\x02") + 4)
    return (
        data[: place + 8]
        + struct.pack("<H", struct.unpack("<H", data[place + 8 : place + 10])[0] | 1)
        + data[place + 10 :]
    )


def shared(data: bytes) -> bytes:
    """A second entry in the directory for the bytes of the first."""
    end, first = data.rindex(b"PK\x05\x06"), data.index(b"PK\x01\x02")
    name, extra, note = struct.unpack("<HHH", data[first + 28 : first + 34])
    record = bytearray(data[first : first + 46 + name + extra + note])
    record[46 + name - 1] ^= 1  # another name, of the same length
    count, size = (
        struct.unpack("<H", data[end + 10 : end + 12])[0] + 1,
        struct.unpack("<L", data[end + 12 : end + 16])[0] + len(record),
    )
    return (
        data[:end] + record + data[end : end + 8] + struct.pack("<HHL", count, count, size) + data[end + 16 :]
    )


def listing(data: bytes) -> bytes:
    """An end record that claims a list of entries of almost four gigabytes."""
    end = data.rindex(b"PK\x05\x06")
    return data[: end + 12] + struct.pack("<L", 0xFFFFFFF0) + data[end + 16 :]


SPOILED = {
    "a path upwards": add("../../evil.txt"),
    "an absolute path": add("/tmp/evil.txt"),
    "a drive's path": add("C:/evil.txt"),
    "a path upwards in backslashes": add("..\\..\\evil.txt"),
    "a link": add("link", b"/etc/passwd", external_attr=0o120777 << 16),
    "a decompression bomb": add("zeros", bytes(30_000_000)),
    "an entry twice": twice,
    "encryption": encrypted,
    "its end cut off": lambda data: data[:-30],
    "entries that share bytes": shared,
    "an endless list of entries": listing,
    "a ZIP before it": lambda data: goods.make_zip({"a": b"x"}) + data,
    "a path on another machine": add("//server/share/evil.txt"),
    "a path on another machine, in backslashes": add("\\\\server\\share\\evil.txt"),
    "a drive's path, in small letters": add("c:evil.txt"),
    "a path to a device": add("/dev/shm/evil"),
    "a path without end": add("../" * 9_000 + "evil"),
    "a path upwards from within": add("a/../../evil.txt"),
}
TAR = b"model/data".ljust(257, b"\0") + b"ustar\x0000" + bytes(247)
GRAPH_DEF = goods.field(1, goods.field(1, b"x") + goods.field(2, b"Placeholder"))
CORE_ML = b"\x08\x05" + goods.field(2, b"") + bytes([0xA2, 0x1F, 0])
KINDS = {  # what it is, its bytes, what must be said
    "pt2": (
        goods.make_zip(
            {"m/archive_format": b"pt2", "m/models/model.json": b"{}", "m/data/sample_inputs/model.pt": b"x"}
        ),
        "torch.export",
    ),
    "older pt2": (
        goods.make_zip({"serialized_exported_program.json": b"{}", "version": b"5"}),
        "torch.export",
    ),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(64), "GGUF"),
    "GGML": (b"lmgg" + bytes(64), "GGML"),
    "Core ML": (CORE_ML, "Core ML"),
    "Core ML package": (
        goods.make_zip({"Manifest.json": b"{}", "Data/com.apple.CoreML/model.mlmodel": b"x"}),
        "Core ML",
    ),
    "joblib": (
        b"\x80\x04\x95" + struct.pack("<Q", 40) + b"\x8c\x10sklearn.ensemble\x8c\x02RF\x93)\x81.",
        "scikit-learn",
    ),
    "compressed joblib": (b"\x78\x9c" + bytes(64), "scikit-learn"),
    "plain pickle": (pickle.dumps({"a": 1}), "pickle"),
    "hostile pickle": (b"\x80\x02" + call("os.system") + b"N.", "pickle"),
    "TensorRT": (b"ptrt" + bytes(64), "TensorRT"),
    "ORT": (b"\x18\0\0\0ORTM" + bytes(64), "ONNX Runtime"),
    "OpenVINO": (b'<?xml version="1.0"?><net name="a">', "OpenVINO"),
    "ncnn": (b"7767517\n75 83\nInput data 0 1 data", "ncnn"),
    "frozen graph": (GRAPH_DEF, "TensorFlow 1"),
    "Caffe": (b'name: "LeNet"\nlayer {', "Caffe"),
    "lonely saved_model.pb": (b"\x08\x01" + goods.field(2, GRAPH_DEF), "SavedModel"),
    "torch tar": (TAR.replace(b"model/data", b"./storages"), "0.1.11"),
    "tar": (TAR, "tar"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "gzip"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "archive"),
    "RAR": (b"Rar!\x1a\x07" + bytes(64), "archive"),
    "NumPy array": (b"\x93NUMPY\x01\0" + bytes(64), "array"),
    "NumPy archive": (goods.make_zip({"a.npy": b"\x93NUMPY"}), "NumPy"),
    "TorchServe": (goods.make_zip({"MAR-INF/MANIFEST.json": b"{}"}), "TorchServe"),
    "ZIP of images": (goods.make_zip({"a/1.png": b"x", "b/2.jpg": b"y"}), "data set"),
    "ZIP of text": (goods.make_zip({"a.txt": b"x"}), "ZIP"),
    "empty ZIP": (b"PK\x05\x06" + bytes(18), "ZIP"),
    "office document": (goods.make_zip({"[Content_Types].xml": b"x"}), "office"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(64), "image"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(64), "image"),
    "PDF": (b"%PDF-1.7", "PDF"),
    "ELF program": (b"\x7fELF\x02" + bytes(64), "program"),
    "Windows program": (b"MZ\x90" + bytes(64), "program"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "LFS"),
    "Python": (b"import torch\n", "Python"),
    "JSON": (b'{"a": 1}', "JSON"),
    "Keras JSON": (b'{"class_name": "Sequential"}', "weights"),
    "text": (b"hello", "text"),
    "empty": (b"", "empty"),
    "zeros": (bytes(5000), "empty"),
    "noise": (bytes((i * 73 + 41) % 251 + 4 for i in range(999)), "unknown"),
}
KIND_TWINS = {
    "pt2": "state_zip",
    "older pt2": "state_zip",
    "joblib": "state_legacy",
    "hostile pickle": "state_legacy",
    "plain pickle": "state_legacy",
    "lonely saved_model.pb": "saved_model",
    "Keras JSON": "h5",
    "ORT": "onnx",
    "frozen graph": "onnx",
}

CASES = [
    *(
        Case(f"{base} with {what}", base, partial(lambda b, s: s(goods.GOODS[b]()), base, spoil))
        for base in IN_ZIPS
        for what, spoil in SPOILED.items()
    ),
    *(
        Case(
            f"too many entries in {base}",
            base,
            partial(lambda b: goods.rezip(goods.GOODS[b](), {f"e{i}": b"" for i in range(20_001)}), base),
            "entries",
        )
        for base in ("state_zip", "keras_v3")
    ),
    *(
        Case(f"a file of kind {what}", KIND_TWINS.get(what, "onnx"), partial(lambda d: d, data), says)
        for what, (data, says) in KINDS.items()
    ),
]
