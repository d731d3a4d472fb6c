"""Bad PyTorch files: code in pickles, in every carrier; tensors that lie; modules that smuggle; programs."""

import io
import pickle
import struct
import zipfile
from functools import partial

from tests.hostile import goods
from tests.hostile.case import Case

MARKER = "edgewise_hostile_marker"
COMMAND = f"touch {MARKER}"
CALLABLES = """os.system posix.system nt.system subprocess.Popen subprocess.check_output builtins.eval
builtins.exec builtins.open
builtins.__import__ builtins.getattr builtins.compile importlib.import_module shutil.rmtree
socket.create_connection pickle.loads
torch.load torch.hub.load torch.jit.load webbrowser.open runpy.run_path pty.spawn ctypes.CDLL code.interact
operator.attrgetter
functools.reduce numpy.load pip.main timeit.timeit types.FunctionType marshal.loads bdb.Bdb commands.getoutput
asyncio.run
http.client.HTTPSConnection urllib.request.urlopen torch.serialization.load
torch.utils.cpp_extension.load_inline
engine.wall.sandbox.run tensorflow.io.write_file my_package.my_function""".split()
LEGACY = [*CALLABLES[:12], "torch.load", "my_package.my_function"]


def call(name: str, argument: str = COMMAND) -> bytes:
    """Instructions that call a function with one text and drop the result."""
    module, _, function = name.rpartition(".")
    return (
        f"c{module}\n{function}\n".encode()
        + b"("
        + pickle.dumps(argument, 0)[:-1].split(b"\np")[0]
        + b"\ntR0"
    )


def in_zip(base: bytes, change) -> bytes:
    """Changes the pickle inside a ZIP; `change` gets its bytes without the final stop."""
    with zipfile.ZipFile(io.BytesIO(base)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return goods.rezip(base, {name: change(archive.read(name)[:-1]) + b"."})


def in_legacy(payload: bytes) -> bytes:
    """Puts instructions at the end of the fourth pickle of the older layout."""
    from engine.formats.torch.recognise import after_pickles

    data = goods.state_legacy()
    place = after_pickles(data, 3)
    end = data.index(b"u.", place) + 1
    return data[:end] + payload + data[end:]


def instructions(payload: bytes) -> bytes:
    return in_zip(goods.state_zip(), lambda data: data + payload)


def stored(
    storage: tuple = (b"FloatStorage", "0", 100), offset: int = 0, shape=(4, 1, 5, 5), stride=(25, 25, 5, 1)
) -> bytes:
    """A state dict of one tensor with these claims about it."""

    def numbers(values) -> bytes:
        return b"(" + b"".join(pickle.dumps(int(v), 2)[2:-1] for v in values) + b"t"

    kind, key, count = storage
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n"
        + kind
        + b"\nX"
        + struct.pack("<I", len(key))
        + key.encode()
        + b"X\x03\0\0\0cpu"
        + pickle.dumps(count, 2)[2:-1]
        + b"tQ"
        + pickle.dumps(offset, 2)[2:-1]
        + numbers(shape)
        + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )
    return in_zip(goods.state_zip(), lambda data: b"\x80\x02}X\x0c\0\0\0conv1.weight" + tensor + b"s")


def module(change) -> bytes:
    """A pickled Sequential that was changed by hand before it was saved."""
    import torch

    made = goods._module()
    change(made)
    out = io.BytesIO()
    torch.save(made, out)
    return out.getvalue()


def _hooked(made) -> None:
    made[0]._forward_hooks["a"] = goods.lenet_state()["fc1.bias"]


def _forward(made) -> None:
    made[2].__dict__["forward"] = "os.system"


def _circle(made) -> None:
    made._modules["again"] = made


def wrapped(inside: object) -> bytes:
    """A DataParallel around something; around itself where that is None."""
    import torch

    made = torch.nn.DataParallel(goods._module())
    made._modules["module"] = inside if inside is not None else made
    out = io.BytesIO()
    torch.save(made, out)
    return out.getvalue()


def _not_a_module(made) -> None:
    made._modules["0"] = "conv"


def script(code: str) -> bytes:
    """A TorchScript file whose forward has a line more."""
    data = goods.script()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".py") and b"def forward" in archive.read(n))
        text = archive.read(name).decode()
    head, _, rest = text.partition("def forward(")
    line, _, body = rest.partition("\n")
    return goods.rezip(data, {name: f"{head}def forward({line}\n    {code}\n{body}".encode()})


def script_pickle() -> bytes:
    data = goods.script()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return goods.rezip(data, {name: archive.read(name)[:-1] + call("os.system") + b"."})


def entry(change) -> bytes:
    """The state dict's ZIP with entries changed: `change(root)` gives them by name."""
    data = goods.state_zip()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl")).removesuffix("data.pkl")
    return goods.rezip(data, change(root))


CASES = [
    *(
        Case(
            f"zip calls {name}",
            "state_zip",
            partial(lambda n: instructions(call(n)), name),
            name.split(".")[-1],
        )
        for name in CALLABLES
    ),
    *(
        Case(f"legacy calls {name}", "state_legacy", partial(lambda n: in_legacy(call(n)), name))
        for name in LEGACY
    ),
    *(
        Case(
            f"module calls {name}",
            "module_zip",
            partial(lambda n: in_zip(goods.module_zip(), lambda d: d + call(n)), name),
        )
        for name in LEGACY
    ),
    *(
        Case(
            f"bare pickle calls {name}",
            "state_legacy",
            partial(lambda n: b"\x80\x02" + call(n) + b"N.", name),
            "pickle",
        )
        for name in LEGACY
    ),
    *(
        Case(f"text pickle calls {name}", "state_legacy", partial(lambda n: call(n) + b"N.", name), "pickle")
        for name in LEGACY[:4]
    ),
    Case("INST", "state_zip", lambda: instructions(b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n0"), "INST"),
    Case("OBJ", "state_zip", lambda: instructions(b"(cos\nsystem\nS'" + COMMAND.encode() + b"'\no0"), "OBJ"),
    Case("extension", "state_zip", lambda: instructions(b"\x82\x01" + b"0"), "EXT1"),
    Case(
        "STACK_GLOBAL",
        "state_zip",
        lambda: instructions(
            b"\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(COMMAND)]) + COMMAND.encode() + b"\x85R0"
        ),
    ),
    Case("NEWOBJ of a function", "state_zip", lambda: instructions(b"cos\nsystem\n)\x810")),
    Case(
        "user's class that is called", "state_zip", lambda: instructions(b"cmy.thing\nThing\n)R0"), "my.thing"
    ),
    Case(
        "torch.nn class that is called",
        "state_zip",
        lambda: instructions(b"ctorch.nn.modules.linear\nLinear\n(K\x01K\x01tR0"),
    ),
    Case(
        "storage changed by BUILD",
        "state_zip",
        lambda: in_zip(
            goods.state_zip(),
            lambda d: (
                d + b"(X\x07\0\0\0storagectorch\nFloatStorage\n"
                b"X\x01\0\0\x000X\x03\0\0\0cpuK\x64tQ}X\x05\0\0\0countJ\xff\xff\xff\x7fsb0"
            ),
        ),
    ),
    Case("huge memo", "state_zip", lambda: instructions(b"Nr\xff\xff\xff\x7f0"), "reserves"),
    Case("foreign reference", "state_zip", lambda: instructions(b"S'file:///etc/passwd'\nQ0")),
    Case("broken pickle", "state_zip", lambda: instructions(b"\xff")),
    Case("stack underflow", "state_zip", lambda: instructions(b"000000t")),
    Case("storage too large", "state_zip", lambda: stored((b"FloatStorage", "0", 2**36))),
    Case("storage cut off", "state_zip", lambda: stored((b"FloatStorage", "0", 101))),
    Case("storage unknown", "state_zip", lambda: stored((b"FloatStorage", "../../../etc/passwd", 100))),
    Case("storage of no kind", "state_zip", lambda: stored((b"QInt8Storage", "0", 100))),
    Case("view beyond the end", "state_zip", lambda: stored(offset=1)),
    Case("view before the start", "state_zip", lambda: stored(offset=-8)),
    Case("shape too large", "state_zip", lambda: stored(shape=(2**20, 2**20), stride=(1, 1))),
    Case("shape enlarged by stride 0", "state_zip", lambda: stored(shape=(2**20, 2**20), stride=(0, 0))),
    Case("negative shape", "state_zip", lambda: stored(shape=(-1, 5), stride=(1, 1))),
    Case("negative stride", "state_zip", lambda: stored(shape=(4, 5), stride=(-5, 1))),
    Case("stride count differs", "state_zip", lambda: stored(shape=(4, 5), stride=(1,))),
    Case("no tensor's values", "state_zip", lambda: entry(lambda root: {f"{root}data/0": None})),
    Case(
        "two pickles", "state_zip", lambda: entry(lambda root: {"other/data.pkl": b"\x80\x02}."}), "pickles"
    ),
    Case("big-endian", "state_zip", lambda: entry(lambda root: {f"{root}byteorder": b"big"}), "big-endian"),
    Case("legacy cut off", "state_legacy", lambda: goods.state_legacy()[:-100]),
    Case("legacy cut in the pickle", "state_legacy", lambda: goods.state_legacy()[:300]),
    Case(
        "legacy with a wrong count",
        "state_legacy",
        lambda: goods.state_legacy().replace(struct.pack("<q", 800), struct.pack("<q", 2**40)),
    ),
    Case("module with hooks", "module_zip", lambda: module(_hooked), "hooks"),
    Case("module with another forward", "module_zip", lambda: module(_forward), "forward"),
    Case("module in a circle", "module_zip", lambda: module(_circle), "each other"),
    Case("wrapper around itself", "module_zip", partial(wrapped, None), "no module"),
    Case("wrapper around text", "module_zip", partial(wrapped, "os.system"), "no module"),
    Case("module of text", "module_zip", lambda: module(_not_a_module)),
    *(
        Case(f"script with {line}", "script", partial(script, line))
        for line in (
            'a = torch.from_file("/etc/passwd", False, 10)',
            "a = ops.prim.PythonOp()",
            'a = ops.evil.run("x")',
            'a = torch.save(x, "f")',
            'a = ops.aten.from_file("f", True, 10)',
            "a = torch.zeros([1000000, 1000000])",
            'a = torch.load("f")',
            'a = torch._load_from_bytes("f")',
            "while True:\n      pass",
            "for i in range(10000000000):\n      pass",
            "a = torch.ones([99999999999])",
            "a = torch.empty([99999999999])",
            'a = torch . from_file("/etc/passwd", False, 10)',
            't = torch\n    a = t.from_file("/etc/passwd", False, 10)',
            't = ops.aten\n    a = t.from_file("/etc/passwd", False, 10)',
            "a, b, c = ('\"', torch.from_file(\"/etc/passwd\", False, 10), '\"')",
            'a = (torch.  # from\n    from_file("/etc/passwd", False, 10))',
        )
    ),
    Case("script with a pickle that calls", "script", script_pickle, "os.system"),
]
