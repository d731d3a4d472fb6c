"""timm's classifiers, by the names and shapes of all their tensors but the head's.

Recognised whether or not timm is installed (the extra `timm`), so that the sentence can name it; built only
where it is. `python -m engine.formats.torch.timm_trunks` writes timm_keys.json anew.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.torch.fill import AS_ONNX, fill
from engine.formats.torch.name import Candidate
from models.torchvision_shim import import_torchvision

Weights = Mapping[str, np.ndarray]
KEYS = Path(__file__).with_name("timm_keys.json")
PREFIX = "timm/"
MOST_NAMES = 4  # that one set of tensors may belong to: they differ in padding or in an activation
MOST_PARAMETERS = 200_000_000
LEFT_OUT = (
    "test_",
    "vit_",
    "eva",
    "naflex",
)  # models for timm's own tests, and hundreds of sizes of one kind
KEPT = ("vit_tiny", "vit_small", "vit_base")  # … of which these are what people train


def candidates(weights: Weights, size: int | None) -> list[Candidate]:
    """Returns timm's classifiers that have these tensors, the shortest name first; none: an empty list.

    Raises BadInput where there are such and timm is not installed.
    """
    names = known(weights)
    if names and not is_installed():
        raise BadInput(
            f"The weights are those of timm's {names[0]}: install timm (`pip install timm==1.0.31`) and open"
            f" the file again, or {AS_ONNX}"
        )
    found = []
    for name in names[:MOST_NAMES]:
        try:
            found += named(PREFIX + name, weights, size)
        except BadInput:
            continue
    return found


def named(architecture: str, weights: Weights, size: int | None) -> list[Candidate]:
    """Returns the candidates of one network, one a likely size of its images. Raises BadInput as `build`
    does.
    """
    network: Any = build(architecture, weights)
    usual = network.default_cfg
    sizes = [usual["input_size"][-1]]
    if not usual.get("fixed_input_size") and size is not None:
        sizes = list(dict.fromkeys((size, *sizes) if size < 96 else (*sizes, size)))
    return [Candidate(architecture, side, *_ends(usual, weights)) for side in sizes]


def full_name(network: str) -> str | None:
    """Returns the name of timm's network of that name as it is kept; None where the table has none."""
    own = network.removeprefix(PREFIX)
    return PREFIX + own if any(own in names for names in _table()["networks"].values()) else None


def known(weights: Weights) -> list[str]:
    """Returns the names of timm's networks that have these tensors, whatever head and channels they have."""
    table = _table()
    shapes = {key: value.shape for key, value in weights.items()}
    sums = (_sum(shapes, head, stem) for head in table["heads"] for stem in table["stems"] if stem in shapes)
    return next((list(names) for one in sums if (names := table["networks"].get(one))), [])


def build(architecture: str, weights: Weights) -> nn.Module:
    """Builds `timm/NAME` with the channels and classes that the weights have, and fills it, in eval mode.

    Raises BadInput where timm is missing or has none of that name, or the weights don't fit.
    """
    name = architecture.removeprefix(PREFIX)
    if not is_installed():
        raise BadInput(f"{architecture[:60]} takes timm, which is not installed: pip install timm==1.0.31.")
    timm = _timm()
    if not timm.is_model(name):
        raise BadInput(f"timm has no classifier called '{name[:60]}': see timm.list_models().")
    channels, classes = _ends(timm.get_pretrained_cfg(name).to_dict(), weights)
    try:
        network = timm.create_model(
            name, pretrained=False, in_chans=channels, num_classes=classes, exportable=True
        )
    except Exception as error:  # a network may refuse channels or classes in any way
        raise BadInput(f"timm's {name[:60]} can't be built for these weights ({error}).") from None
    return _taken_apart(fill(network, weights, architecture))


def _taken_apart(network: nn.Module) -> nn.Module:
    """Returns the network with a module each for the normalisation and the activation that timm runs in one:
    only a plain BatchNorm is folded into the layer before it.
    """
    from timm.layers import BatchNormAct2d

    modules = dict(network.named_modules())
    for name, both in modules.items():
        if isinstance(both, BatchNormAct2d):
            norm = nn.BatchNorm2d(both.num_features, both.eps, both.momentum, both.affine)
            own = {key: value for key, value in both.state_dict().items() if key in norm.state_dict()}
            norm.load_state_dict(own)
            parent, _, last = name.rpartition(".")
            setattr(modules[parent], last, nn.Sequential(norm, both.drop, both.act).eval())
    return network


def is_installed() -> bool:
    """Tells whether timm can be imported here; nothing of it is."""
    return find_spec("timm") is not None


def _timm() -> ModuleType:
    import_torchvision()  # which timm imports as well
    return import_module("timm")


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEYS.read_text(encoding="utf-8"))
    return found


def _ends(usual: Mapping[str, Any], weights: Weights) -> tuple[int, int]:
    """Returns channels and classes by timm's own note of where a network's ends are; 3 and 1000 where the
    weights lack them.
    """
    stem, head = f"{usual.get('first_conv')}.weight", f"{usual.get('classifier')}.weight"
    channels = weights[stem].shape[1] if stem in weights and weights[stem].ndim == 4 else 3
    classes = weights[head].shape[0] if head in weights and weights[head].ndim else 1000
    return int(channels), int(classes)


def _sum(shapes: Mapping[str, Iterable[int]], head: str, stem: str) -> str:
    """Returns the sum of all names and shapes without the head's, and without the stem's channels."""
    lines = []
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked") or key.startswith(f"{head}."):
            continue
        sizes = list(shape)
        lines.append(f"{key} {[sizes[0], *sizes[2:]] if key == stem else sizes}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]


def _write_keys() -> None:
    timm = _timm()
    heads: set[str] = set()
    stems: set[str] = set()
    networks: dict[str, list[str]] = {}
    for name in sorted(timm.list_models(), key=lambda n: (len(n), n)):
        if name.startswith(LEFT_OUT) and not name.startswith(KEPT):
            continue
        try:
            with torch.device("meta"):
                network = timm.create_model(name, pretrained=False)
        except Exception as error:
            print(f"{name}: {error}"[:120])
            continue
        head, stem = network.default_cfg.get("classifier"), network.default_cfg.get("first_conv")
        count = sum(p.numel() for p in network.parameters())
        if not (isinstance(head, str) and isinstance(stem, str)) or count > MOST_PARAMETERS:
            continue
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        networks.setdefault(_sum(shapes, head, f"{stem}.weight"), []).append(name)
        heads.add(head)
        stems.add(f"{stem}.weight")
    rows = [f'  "{key}": {json.dumps(names[:MOST_NAMES])}' for key, names in networks.items()]
    KEYS.write_text(
        f'{{"heads": {json.dumps(sorted(heads))},\n "stems": {json.dumps(sorted(stems))},\n "networks": {{\n'
        + ",\n".join(sorted(rows))
        + "\n}}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    _write_keys()
