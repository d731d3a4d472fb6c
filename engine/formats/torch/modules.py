"""A pickled module made again from its inert record: torch.nn's and torchvision's own classes, plain
attributes, tensors.

A user's own class is not in the file and is never looked for. What it holds is used in two ways: its tensors'
names may
fit a known network, or its layers, in the order in which they were registered, run as a chain.
Imports torch: only for use behind the wall.
"""

import copy
import importlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.limits import MAX_OUTPUT
from engine.formats.torch import check as torchfile
from engine.formats.torch.pickle import SAVE_WEIGHTS, WRAPPERS, Record, Reference, Tensor
from models.torchvision_shim import import_torchvision

IN_ORDER = "modules_in_order"
MAX_MODULES, MAX_DEPTH = 10_000, 50
SIDES = (28, 32, 224, 64, 96, 128, 299, 160, 48)
CONTAINERS = ("torch.nn.modules.container.Sequential", "torch.nn.modules.container.ModuleList")
ACTIVATIONS = ("torch.nn.modules.activation.",)
OWN_STATE = {
    "_modules",
    "_parameters",
    "_buffers",
    "training",
    "_non_persistent_buffers_set",
    "_is_full_backward_hook",
}


def is_module(value: Any) -> bool:
    """Tells whether a record is a module: it has children or parameters."""
    return isinstance(value, Record) and isinstance(value.attributes.get("_modules"), dict)


def check(path: Path) -> None:
    """Reads the file as inert records and checks every layer's structure and attributes, and how large a
    network of known layers lets an image become. Raises BadInput."""
    record = find(torchfile.read(path).value)
    for _, module in walk(record):
        kind = _class_of(module.kind) or nn.Module
        for name, value in module.attributes.items():
            if _is_kept(kind, name, value) and kind is not nn.Module:
                _plain(value, f"{kind.__name__}.{name}")
    network = rebuild(record) if is_known(record) else rebuild_in_order(record)
    if network is not None:
        _check_usual_sizes(network)


def _check_usual_sizes(network: nn.Module) -> None:
    stem = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    for side in SIDES:
        for channels in (stem.in_channels,) if stem else (1, 3):
            try:
                check_growth(network, channels, side)
            except BadInput:
                raise
            except Exception:  # a network of another size objects in any way
                continue
            return


def find(value: Any) -> Record:
    """Returns the module in what was read, out of a checkpoint's wrapping. Raises BadInput when there is
    none.
    """
    for _ in range(4):
        if is_module(value) and value.kind not in WRAPPERS:
            return value
        if is_module(value):
            value = value.attributes["_modules"].get("module")
            continue
        inner = (
            [value[key] for key in ("model", "net", "network", "module", "state_dict", "ema") if key in value]
            if isinstance(value, dict)
            else []
        )
        value = inner[0] if inner else None
    raise BadInput(f"The file holds no module that could be found: save its weights with {SAVE_WEIGHTS}.")


def is_known(record: Record) -> bool:
    """Tells whether a record's class, and those of all modules in it, are torch.nn's or torchvision's."""
    return all(_class_of(module.kind) is not None for _, module in walk(record))


def of_torchvision(record: Record) -> bool:
    """Tells whether one of torchvision's classifiers is in it."""
    return any(module.kind.startswith("torchvision.models.") for _, module in walk(record))


def walk(record: Record) -> list[tuple[str, Record]]:
    """Returns all modules by path, the root first. Raises BadInput when they are too many, too deep or in a
    circle.
    """
    found: list[tuple[str, Record]] = []

    def visit(path: str, module: Any, above: tuple[int, ...]) -> None:
        if module is None:
            return
        if not is_module(module):
            raise BadInput(
                f"'{path[:60]}' in the file is no layer: save the weights alone with {SAVE_WEIGHTS}."
            )
        if id(module) in above or len(above) > MAX_DEPTH or len(found) > MAX_MODULES:
            raise BadInput(
                f"The layers in the file contain each other: save the weights alone with {SAVE_WEIGHTS}."
            )
        found.append((path, module))
        for name, child in module.attributes["_modules"].items():
            visit(f"{path}.{name}".lstrip("."), child, (*above, id(module)))

    visit("", record, ())
    return found


def state_of(record: Record) -> dict[str, np.ndarray]:
    """Returns the module's state dict: parameters and buffers by path."""
    state = {}
    for path, module in walk(record):
        for group in ("_parameters", "_buffers"):
            for name, value in dict(module.attributes.get(group) or {}).items():
                if isinstance(value, Tensor):
                    state[f"{path}.{name}".lstrip(".")] = value.array()
    return state


def rebuild(record: Record) -> nn.Module:
    """Makes a module of known classes. Raises BadInput for any other class and for attributes that are not
    plain.
    """
    module = _rebuild(record, {})
    walk(record)
    return module.float().eval().requires_grad_(False)


def rebuild_in_order(record: Record) -> nn.Sequential | None:
    """Runs the layers of a user's class in the order of their registration, flattened before the first dense
    layer.

    None when a layer is of no known class, or when there is no activation between them, so that the order
    alone can't be the network.
    """
    leaves = []
    for path, module in walk(record):
        children = [child for child in module.attributes["_modules"].values() if child is not None]
        if children and _class_of(module.kind) is not None and module.kind not in CONTAINERS:
            return None
        if not children:
            leaves.append((path.replace(".", "_"), module))
    if not any(module.kind.startswith(ACTIVATIONS) for _, module in leaves) or any(
        _class_of(module.kind) is None for _, module in leaves
    ):
        return None
    layers, flat = OrderedDict(), False
    for name, module in leaves:
        if module.kind == "torch.nn.modules.flatten.Flatten":
            flat = True
        if module.kind == "torch.nn.modules.linear.Linear" and not flat:
            layers["flatten"], flat = nn.Flatten(), True
        layers[name or "layer"] = _rebuild(module, {})
    return nn.Sequential(layers).float().eval().requires_grad_(False)


def check_growth(network: nn.Module, channels: int, height: int, width: int | None = None) -> None:
    """Runs a network without memory (shapes only). Raises BadInput where a layer gives absurdly much for one
    image.
    """

    def look(module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.numel() > MAX_OUTPUT:
            raise BadInput(
                f"A {type(module).__name__} in the file makes {output.numel():,} numbers of one image, which"
                f" no device could hold: save the weights alone with {SAVE_WEIGHTS}."
            )

    shapes = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in network.parameters()}
    bare = copy.deepcopy(
        network, shapes | {id(b): b.to("meta") for b in network.buffers()}
    )  # the values themselves are not copied
    for module in bare.modules():
        module.register_forward_hook(look)
    with torch.inference_mode():
        bare(torch.zeros(1, channels, height, width or height, device="meta"))


def _rebuild(record: Record, made: dict[int, nn.Module], depth: int = 0) -> nn.Module:
    if id(record) in made:
        return made[id(record)]
    kind = _class_of(record.kind)
    if kind is None or depth > MAX_DEPTH or not is_module(record):
        raise BadInput(
            f"The file holds a module of class '{record.kind[:80]}', whose code is not in the file: save the "
            f"weights alone with {SAVE_WEIGHTS}, or export the network to ONNX."
        )
    module = made[id(record)] = kind.__new__(kind)
    nn.Module.__init__(module)
    state = {
        name: _plain(value, f"{kind.__name__}.{name}")
        for name, value in record.attributes.items()
        if _is_kept(kind, name, value)
    }
    state |= {
        "_parameters": {name: _parameter(value) for name, value in _group(record, "_parameters").items()},
        "_buffers": {name: _tensor(value) for name, value in _group(record, "_buffers").items()},
        "_modules": {
            name: None if child is None else _rebuild(child, made, depth + 1)
            for name, child in _group(record, "_modules").items()
        },
        "training": False,
    }
    module.__setstate__(
        {**module.__dict__, **state}
    )  # the class's own, which mends what older versions left out
    return module


def _class_of(kind: str) -> type[nn.Module] | None:
    """Returns the class that a name stands for, if torch.nn or torchvision defines it under that very
    name.
    """
    module, _, name = kind.rpartition(".")
    if not module.startswith(("torch.nn.modules.", "torchvision.models.", "torchvision.ops.")):
        return None
    try:
        import_torchvision()
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    is_its_own = isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == module
    return found if is_its_own else None


def _group(record: Record, name: str) -> dict:
    group = record.attributes.get(name)
    group = {} if group is None else group
    if not isinstance(group, dict) or not all(
        isinstance(key, str) and key and "." not in key for key in group
    ):
        raise BadInput(
            f"The layers in the file are not well-formed: save the weights alone with {SAVE_WEIGHTS}."
        )
    return group


def _is_kept(kind: type, name: str, value: Any) -> bool:
    if (
        name in OWN_STATE
        or name in ("_backend", "_version")
        or (name.startswith("_") and name.endswith(("hooks", "hooks_with_kwargs", "hooks_always_called")))
    ):
        if name.endswith("hooks") and value:
            raise BadInput(
                "The module in the file has hooks, which are code: save the weights alone with"
                f" {SAVE_WEIGHTS}."
            )
        return False
    if not isinstance(name, str) or name.startswith("__") or callable(getattr(kind, name, None)):
        raise BadInput(
            f"The module in the file replaces '{str(name)[:40]}' of its class, which is code: save the"
            f" weights alone with {SAVE_WEIGHTS}."
        )
    return not isinstance(value, Reference)


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, type) and issubclass(value, Record) and _class_of(value.kind):
        return _class_of(value.kind)
    if isinstance(value, list | tuple) and depth < 5 and len(value) < 1000:
        return type(value)(_plain(item, where, depth + 1) for item in value)
    if (
        isinstance(value, dict)
        and depth < 5
        and len(value) < 1000
        and all(isinstance(key, str) for key in value)
    ):
        return {key: _plain(item, where, depth + 1) for key, item in value.items()}
    if isinstance(value, Tensor):
        return _tensor(value)
    raise BadInput(
        f"The attribute '{where[:60]}' in the file is no plain value: save the weights alone with"
        f" {SAVE_WEIGHTS}."
    )


def _tensor(value: Any) -> torch.Tensor | None:
    if value is not None and not isinstance(value, Tensor):
        raise BadInput(
            f"A layer in the file has weights that are no tensor: save the weights alone with {SAVE_WEIGHTS}."
        )
    return None if value is None else torch.from_numpy(value.array())


def _parameter(value: Any) -> nn.Parameter | None:
    tensor = _tensor(value)
    return None if tensor is None else nn.Parameter(tensor, requires_grad=False)
