"""Tricks with PyTorch and safetensors files that go round a simple check: names out of the memo, functions
that are changed, values shown a thousand times, layers that grow an image, containers that say different
things to different readers.
"""

import io
import json
import pickle
import struct
import zipfile
from functools import partial

from tests.hostile import goods
from tests.hostile.bad_torch import COMMAND, entry, in_legacy, in_zip, instructions, module, stored
from tests.hostile.case import Case


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def remembered(place: int, value: str) -> bytes:
    """Puts a text into the memo and takes it off the stack."""
    return text(value) + b"r" + struct.pack("<I", place) + b"0"


def recalled(place: int) -> bytes:
    return b"j" + struct.pack("<I", place)


def shown_often(times: int) -> bytes:
    """A state dict of many names for the same stored values."""
    storage = (
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
        + pickle.dumps(1_000_000, 2)[2:-1]
        + b"tQ"
    )
    shape = b"(" + pickle.dumps(1_000_000, 2)[2:-1] + b"t(K\x01t"
    first = b"(" + storage + b"r\x01\0\0\0" + b"K\0" + shape + b"\x89ccollections\nOrderedDict\n)RtR"
    again = b"(" + b"j\x01\0\0\0" + b"K\0" + shape + b"\x89ccollections\nOrderedDict\n)RtR"
    tensors = b"".join(
        text(f"w{i}") + b"ctorch._utils\n_rebuild_tensor_v2\n" + (again if i else first) + b"s"
        for i in range(times)
    )
    data = in_zip(goods.state_zip(), lambda _: b"\x80\x02}" + tensors)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data/0"))
    return goods.rezip(data, {name: bytes(4_000_000)})


def copied_often() -> bytes:
    """A list of 100,000 entries that is copied a thousand times."""
    grown = b"]r\x01\0\0\0(" + b"N" * 100_000 + b"e0"
    return instructions(grown + (b"cbuiltins\nlist\n" + recalled(1) + b"\x85R") * 1_000 + b"0" * 1_000)


def growing(kind: str, **options: object) -> bytes:
    def change(made) -> None:
        import torch

        layer = getattr(torch.nn, kind)(**options)
        made._modules = {"grow": layer, **made._modules}

    return module(change)


def attribute(name: str, value: object, place: int = 0) -> bytes:
    return module(lambda made: made[place].__dict__.__setitem__(name, value))


def script_with_pickle(payload: bytes) -> bytes:
    data = goods.script()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return goods.rezip(data, {name: archive.read(name)[:-1] + payload + b"."})


def two_directories(data: bytes) -> bytes:
    """A second ZIP behind the first: the last directory counts for one reader, the first local header for
    another.
    """
    evil = goods.make_zip({"archive/data.pkl": b"\x80\x02cos\nsystem\n(" + text(COMMAND) + b"tR."})
    return evil + goods.make_zip({"other/data.pkl": b"\x80\x02cos\nsystem\n(" + text(COMMAND) + b"tR."})


def with_header(change) -> bytes:
    data = goods.safetensors()
    size = int.from_bytes(data[:8], "little")
    return goods.pack_safetensors(change(json.loads(data[8 : 8 + size])), data[8 + size :])


CHANGED = b"}" + text("__defaults__") + b"(K\x01ts"
CASES = [
    Case(
        "names out of the memo",
        "state_zip",
        lambda: instructions(
            remembered(900, "os")
            + remembered(901, "system")
            + recalled(900)
            + recalled(901)
            + b"\x93("
            + text(COMMAND)
            + b"tR0"
        ),
        "os.system",
    ),
    Case(
        "names out of the memo, harmless ones spelt last",
        "state_zip",
        lambda: instructions(
            remembered(900, "posix")
            + remembered(901, "system")
            + text("collections")
            + text("OrderedDict")
            + b"00"
            + recalled(900)
            + recalled(901)
            + b"\x93("
            + text(COMMAND)
            + b"tR0"
        ),
        "posix.system",
    ),
    Case(
        "names out of the memo, legacy",
        "state_legacy",
        lambda: in_legacy(
            remembered(900, "os")
            + remembered(901, "system")
            + recalled(900)
            + recalled(901)
            + b"\x93("
            + text(COMMAND)
            + b"tR0"
        ),
        "os.system",
    ),
    Case(
        "names out of the memo, in a module",
        "module_zip",
        lambda: in_zip(
            goods.module_zip(),
            lambda d: (
                d
                + remembered(90_000, "os")
                + remembered(90_001, "system")
                + recalled(90_000)
                + recalled(90_001)
                + b"\x93("
                + text(COMMAND)
                + b"tR0"
            ),
        ),
        "os.system",
    ),
    Case(
        "names out of the memo, in a script",
        "script",
        lambda: script_with_pickle(
            remembered(900, "os")
            + remembered(901, "system")
            + recalled(900)
            + recalled(901)
            + b"\x93("
            + text(COMMAND)
            + b"tR0"
        ),
        "builds its names",
    ),
    Case(
        "a name with a dot in it",
        "state_zip",
        lambda: instructions(text("torch._utils") + text("sys.modules") + b"\x93)R0"),
    ),
    Case(
        "a name of an allowed module that is not allowed",
        "state_zip",
        lambda: instructions(b"ctorch._utils\n_import_dotted_name\n(" + text("os.system") + b"tR0"),
    ),
    Case(
        "getattr by another module",
        "state_zip",
        lambda: instructions(b"coperator\nmethodcaller\n(" + text("system") + b"tR0"),
        "operator",
    ),
    Case(
        "a function that is changed",
        "state_zip",
        lambda: instructions(b"ccollections\ndefaultdict\n" + CHANGED + b"b0"),
        "changes a function",
    ),
    Case(
        "a function's attributes by a pair",
        "state_zip",
        lambda: instructions(b"ccollections\ndefaultdict\nN" + CHANGED + b"\x86b0"),
        "changes a function",
    ),
    Case(
        "the maker of tensors that is changed",
        "state_zip",
        lambda: instructions(b"ctorch._utils\n_rebuild_tensor_v2\nN" + CHANGED + b"\x86b0"),
        "changes a function",
    ),
    *(
        Case(f"extension {code.hex()}", "state_zip", partial(lambda c: instructions(c + b"0"), code), "EXT")
        for code in (b"\x83\1\0", b"\x84\1\0\0\0")
    ),
    Case("a buffer from outside", "state_zip", lambda: instructions(b"\x970"), "NEXT_BUFFER"),
    Case("a reference of text", "state_zip", lambda: instructions(b"Pfile:///etc/passwd\n0")),
    Case(
        "a reference to a module's source",
        "state_zip",
        lambda: instructions(b"(" + text("module") + b"cos\nsystem\n" + text("a.py") + text("x") + b"tQ0"),
    ),
    Case("a storage of negative size", "state_zip", lambda: stored((b"FloatStorage", "0", -100))),
    Case(
        "a storage whose name leads out", "state_zip", lambda: stored((b"FloatStorage", "../data.pkl", 100))
    ),
    Case(
        "a tensor without end in an empty one", "state_zip", lambda: stored(shape=(2**41, 0), stride=(1, 1))
    ),
    Case(
        "stored values shown ten thousand times", "state_zip", lambda: shown_often(10_000), "again and again"
    ),
    Case("a list copied a thousand times", "state_zip", copied_often, "again and again"),
    Case(
        "keys that all fall into one place",
        "state_zip",
        lambda: instructions(
            b"}" + b"".join(pickle.dumps(n * (2**61 - 1), 2)[2:-1] + b"Ns" for n in range(1, 50_000)) + b"0"
        ),
        "64 bits",
    ),
    Case(
        "a number without end",
        "state_zip",
        lambda: instructions(b"\x8b" + struct.pack("<I", 1_000_000) + b"\x01" * 1_000_000 + b"0"),
        "64 bits",
    ),
    Case(
        "nested a hundred thousand times",
        "state_zip",
        lambda: instructions(b"(" * 100_000 + b"l" * 100_000 + b"0" + b"t" * 5),
    ),
    Case(
        "a stop before the end",
        "state_zip",
        lambda: in_zip(goods.state_zip(), lambda d: b"\x80\x02N." + d),
        "behind its end",
    ),
    Case("a later protocol", "state_zip", lambda: in_zip(goods.state_zip(), lambda d: b"\x80\x7f" + d[2:])),
    Case(
        "a pickle in a pickle's place, in capitals",
        "state_zip",
        lambda: entry(lambda root: {f"{root}DATA.PKL": b"x", f"{root}data.pkl": None}),
    ),
    Case("two ZIPs in one", "state_zip", lambda: two_directories(b"")),
    Case(
        "the legacy stream twice", "state_legacy", lambda: goods.state_legacy() * 2, "behind its last tensor"
    ),
    Case(
        "the legacy stream with a tail",
        "state_legacy",
        lambda: goods.state_legacy() + b"x",
        "behind its last tensor",
    ),
    *(
        Case(
            f"a {kind} that grows without measure",
            "module_zip",
            partial(lambda k, o: growing(k, **o), kind, options),
            kind,
        )
        for kind, options in (
            ("ZeroPad2d", {"padding": 20_000}),
            ("Upsample", {"scale_factor": 5_000}),
            ("AdaptiveAvgPool2d", {"output_size": 50_000}),
            ("ConstantPad2d", {"padding": 20_000, "value": 0.0}),
        )
    ),
    *(
        Case(f"a layer whose {name} is {value!r}"[:60], "module_zip", partial(attribute, name, value))
        for name, value in (
            ("__class__", "os"),
            ("__call__", "x"),
            ("__dict__", "x"),
            ("_apply", "x"),
            ("_forward_pre_hooks", {"a": 1}),
            ("_backward_hooks", {"a": 1}),
            ("_state_dict_hooks", {"a": 1}),
            ("state_dict", 1),
            ("to", "cuda"),
            ("conv", {1: 2}),
            ("deep", [[[[[[[1]]]]]]]),
            ("wide", list(range(2_000))),
        )
    ),
    Case(
        "safetensors with notes that are no text",
        "safetensors",
        lambda: with_header(lambda h: {"__metadata__": {"a": {"b": 1}}, **h}),
        "notes",
    ),
    Case(
        "safetensors with a list of notes",
        "safetensors",
        lambda: with_header(lambda h: {"__metadata__": ["a"], **h}),
        "notes",
    ),
    Case(
        "safetensors whose kind is no text",
        "safetensors",
        lambda: with_header(lambda h: h["conv2.weight"].update(dtype="") or h),
    ),
    Case(
        "safetensors of booleans for sizes",
        "safetensors",
        lambda: with_header(lambda h: h["conv2.bias"].update(shape=[True] * 3) or h),
    ),
    Case(
        "safetensors of nine dimensions",
        "safetensors",
        lambda: with_header(lambda h: h["conv2.bias"].update(shape=[8] + [1] * 8) or h),
    ),
    Case(
        "safetensors with a header beyond the file",
        "safetensors",
        lambda: struct.pack("<Q", 2**33) + goods.safetensors()[8:],
        "header",
    ),
    Case(
        "safetensors with a header of no object",
        "safetensors",
        lambda: goods.pack_safetensors(b'{"__metadata__": {}}', b""),
        "no tensor",
    ),
    Case(
        "safetensors with a name twice in an entry",
        "safetensors",
        lambda: goods.pack_safetensors(
            b'{"a":{"dtype":"F32","dtype":"F64","shape":[1],"data_offsets":[0,4]}}', b"0000"
        ),
        "twice",
    ),
]
