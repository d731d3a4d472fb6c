"""The pickle of a torch file read without running it: it can build inert records and nothing else.

Every global must be on the allow-list below; the one exception is the class of a module, which may be the
user's
own: its code is not in the file and is never looked for, only its tensors are read.
"""

import io
import math
import pickle
import pickletools
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from engine.errors import BadInput, shortened

MAX_PICKLE = 100_000_000
MAX_OPCODES = 3_000_000
MAX_WIDE = 1_000
# numbers in all tensors together, those of shared storages counted as often as they are shown
MAX_VIEWED = 300_000_000
SAVE_WEIGHTS = "torch.save(model.state_dict(), 'model.pt')"

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
    "BFloat16Storage": "bfloat16",
    "UntypedStorage": "<u1",
}
DTYPES = {
    "float64",
    "double",
    "float32",
    "float",
    "float16",
    "half",
    "bfloat16",
    "int64",
    "long",
    "int32",
    "int",
    "int16",
    "short",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "strided",
    "contiguous_format",
    "channels_last",
}
REFUSED_OPCODES = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8"}


class Record:
    """An object of a class that is only named: `kind` (module.Class), its `attributes`, its constructor's
    arguments.
    """

    kind = ""

    def __new__(cls, *arguments):
        self = super().__new__(cls)
        self.attributes, self.arguments = {}, arguments
        return self

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {"state": state}


class Maker:
    """What the pickle may call. Unlike a plain function it takes no attributes, which BUILD would set on it
    for good.
    """

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]):
        self.make = make

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise BadInput(f"The pickle inside changes a function: {advice()}")


class _Named(type):
    """Makes a Record class that can be instantiated by the pickle but never called by it."""

    def __call__(cls, *arguments):
        raise _unknown(cls.kind)


class Reference:
    """A function or class that is mentioned and not used, such as an activation kept as an attribute."""

    def __init__(self, name: str):
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


class Mapping(dict):
    """An OrderedDict; the attributes that PyTorch hangs on it are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass
class Storage:
    """A run of numbers in the file: `dtype` in NumPy's spelling (or "bfloat16"), `count` values under
    `key`.
    """

    dtype: str
    key: str
    count: int
    device: str
    data: bytes = field(default=b"", repr=False)

    def __setstate__(self, state: Any) -> None:
        raise BadInput(f"The pickle inside changes a tensor's storage: {advice()}")


@dataclass
class Tensor:
    """A view of a storage, checked to lie inside it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: Any) -> None:
        pass  # Parameter's flags; as a dataclass field they could be set to anything

    def array(self) -> np.ndarray:
        """Returns the values, copied: float32 for every kind of float, integers and booleans as they are."""
        kind = self.storage.dtype
        flat = np.frombuffer(self.storage.data, "<u2" if kind == "bfloat16" else kind)
        if kind == "bfloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        step = flat.itemsize
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.shape, tuple(s * step for s in self.stride), writeable=False
        )
        return np.array(view, np.float32 if flat.dtype.kind == "f" else flat.dtype, order="C")


def globals_of(data: bytes) -> list[str]:
    """Returns the `module.name`s that a pickle mentions, in order, without running it. Raises BadInput if
    damaged.
    """
    found, strings = [], []
    for opcode, argument, _ in opcodes(io.BytesIO(data)):
        if opcode.name == "GLOBAL":
            found.append(argument.replace(" ", ".", 1))
        elif opcode.name == "STACK_GLOBAL":
            found.append(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return found


def opcodes(stream: io.BytesIO) -> Iterator[tuple]:
    """Yields the instructions of one pickle, checked against what PyTorch writes. Raises BadInput."""
    highest = wide = 0
    try:
        for count, item in enumerate(pickletools.genops(stream)):
            opcode, argument, _ = item
            if opcode.name in REFUSED_OPCODES:
                raise BadInput(
                    f"The pickle inside uses {opcode.name}, which PyTorch never writes: {advice()}"
                )
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                if argument > highest + 100_000:
                    raise BadInput(f"The pickle inside reserves memory for {argument:,} entries: {advice()}")
                highest = max(highest, argument)
            if opcode.name in ("LONG", "LONG1", "LONG4") and argument.bit_length() > 64:
                # the older layout begins with one; thousands could be chosen to fall into one place of a
                # dictionary
                wide += 1
                if wide > MAX_WIDE or argument.bit_length() > 1024:
                    raise BadInput(
                        "The pickle inside holds numbers of more than 64 bits, which no model needs:"
                        f" {advice()}"
                    )
            if count > MAX_OPCODES:
                raise BadInput(f"The pickle inside has more than {MAX_OPCODES:,} instructions: {advice()}")
            yield item
    except (ValueError, UnicodeError, IndexError, OverflowError, struct.error) as error:
        raise BadInput(
            f"The pickle inside is damaged ({shortened(error, 80)}): export or copy the file again."
        ) from None


def advice() -> str:
    """Returns how a refusal ends: what to save instead."""
    return f"save the weights alone with {SAVE_WEIGHTS}."


def _unknown(name: str) -> BadInput:
    return BadInput(
        f"The file asks to load '{name[:80]}', which could run code and is on no allow-list: {advice()}"
    )


class _Inert(pickle.Unpickler):
    """An unpickler that can only reach the stand-ins of `_stand_in`."""

    def __init__(self, data, storage: Callable[[tuple], Storage], **options):
        super().__init__(data, **options)
        self._storage, self._classes, self._copied, self._values = storage, {}, 0, 0

    def find_class(self, module: str, name: str) -> Any:
        key = f"{module}.{name}"
        if key not in self._classes:
            made = _stand_in(module, name)
            counted = {_tensor: self._tensor, **{copier: partial(self._copy, copier) for copier in _COPYING}}
            self._classes[key] = (
                Maker(counted.get(made, made)) if made in counted or made in _FUNCTIONS else made
            )
        return self._classes[key]

    def _tensor(self, *arguments: Any) -> Tensor:
        made = _tensor(*arguments)
        self._values += math.prod(made.shape)
        if self._values > MAX_VIEWED:
            raise BadInput(
                f"The tensors in the file show the same stored values again and again, {self._values:,} in"
                f" all: {advice()}"
            )
        return made

    def _copy(self, make: Callable[..., Any], items: Any = (), *rest: Any) -> Any:
        self._copied += len(items) if isinstance(items, (list, tuple, dict)) else 0
        if self._copied > MAX_OPCODES:
            raise BadInput(f"The pickle inside copies its lists again and again: {advice()}")
        return make(items, *rest)

    def persistent_load(self, identity: Any) -> Any:
        if isinstance(identity, tuple) and identity and identity[0] == "module" and len(identity) == 4:
            return identity[1]  # older files carry the class's source along; it stays text
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise BadInput(f"The pickle inside refers to something that is no tensor: {advice()}")
        return self._storage(identity)


def _stand_in(module: str, name: str) -> Any:
    key = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
    if key in _ALLOWED:
        return _ALLOWED[key]
    if module in ("torch", "torch.storage") and name in STORAGES:
        return STORAGES[name]
    if module == "torch" and name in DTYPES:
        return Reference(key)
    if module.startswith("torch.nn.functional") or key in (
        "torch.relu",
        "torch.tanh",
        "torch.sigmoid",
        "torch.flatten",
    ):
        return Reference(key)
    top = module.split(".")[0]
    is_layer = key in WRAPPERS or (
        module.startswith(("torch.nn.modules.", "torchvision.models.", "torchvision.ops."))
        and name.lstrip("_")[:1].isupper()
    )
    if not is_layer and (top in _NOT_USERS or not name.isidentifier()):
        raise _unknown(f"{module}.{name}")
    return _Named(name, (Record,), {"kind": key, "__new__": Record.__new__})


_NOT_USERS = set(sys.stdlib_module_names) | {
    "builtins",
    "torch",
    "torchvision",
    "torchaudio",
    "numpy",
    "scipy",
    "pandas",
    "sklearn",
    "joblib",
    "tensorflow",
    "keras",
    "pip",
    "setuptools",
    "dill",
    "cloudpickle",
    "nt",
    "posix",
    "os",
    "commands",
    "engine",
    "deploy",
    "models",
}


def _tensor(storage: Any, offset: int, shape: tuple, stride: tuple, *rest: Any) -> Tensor:
    plain = isinstance(storage, Storage) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**40 for v in (offset, *shape, *stride)
    )
    if not plain or len(shape) != len(stride) or len(shape) > 8:
        raise BadInput("A tensor in the file has an impossible shape: export the file again.")
    count = 1
    for size in shape:
        count *= size
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if count and (last >= storage.count or count > storage.count):
        raise BadInput(
            f"A tensor of shape {tuple(shape)[:8]} is larger than its stored {storage.count:,} values: "
            "export the file again."
        )
    return Tensor(storage, offset, tuple(shape), tuple(stride))


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _ignored(*arguments: Any) -> Reference:
    return Reference("ignored")


def _items(items: Any = (), *rest: Any) -> list:
    return list(items) if isinstance(items, (list, tuple)) else []


class _Plain(Mapping):
    """argparse.Namespace and the like: options kept beside the weights, read as a dict."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)


def _mapping(items: Any = (), *rest: Any) -> Mapping:
    return Mapping(items if isinstance(items, (dict, list)) else ())


class _OrderedDict(Mapping):
    """collections.OrderedDict as pickles call it: with nothing, or with a list of pairs."""


# modules of torch's that only stand around another, as `module`
WRAPPERS = ("torch.nn.parallel.data_parallel.DataParallel", "torch.optim.swa_utils.AveragedModel")
_ALLOWED = {
    "collections.OrderedDict": _OrderedDict,
    "collections.defaultdict": _ignored,
    "builtins.set": _items,
    "builtins.frozenset": _items,
    "builtins.dict": _mapping,
    "builtins.list": _items,
    "argparse.Namespace": _Plain,
    "builtins.slice": _ignored,
    "builtins.complex": _ignored,
    "builtins.int": Reference("int"),
    "builtins.float": Reference("float"),
    "torch.Size": _items,
    "torch.device": _ignored,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _parameter,
    "torch.serialization._get_layout": _ignored,
    "torch.nn.backends.thnn._get_thnn_function_backend": _ignored,
    "numpy.core.multiarray.scalar": _ignored,
    "numpy.dtype": _ignored,
    "numpy.core.multiarray._reconstruct": _ignored,
    "numpy.ndarray": Reference("numpy.ndarray"),
    "_codecs.encode": _ignored,
    "pathlib.PosixPath": _ignored,
    "functools.partial": _ignored,
}
_COPYING = (_items, _mapping, _OrderedDict)
_FUNCTIONS = (_parameter, _ignored)


def load(data: Any, storage: Callable[[tuple], Storage]) -> Any:
    """Builds the value of one pickle; `storage` makes the storages that it refers to. Raises BadInput."""
    try:
        return _Inert(data, storage, encoding="utf-8").load()
    except BadInput:
        raise
    except RecursionError:
        raise BadInput(f"The pickle inside is nested too deeply: {advice()}") from None
    except (
        Exception
    ) as error:  # any instruction can fail in its own way; all of them mean a file that is no model
        raise BadInput(
            f"The pickle inside can't be read ({type(error).__name__}: {shortened(error, 80)}): {advice()}"
        ) from None
