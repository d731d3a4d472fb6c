"""torchvision's classifiers by their trunk: the layers up to the head, whatever names and head a copy gives
them.

A trunk is found by its tensors' names, or by their order and shapes (a network in another module, or taken
apart into a Sequential). Head and stem are fitted to the weights; heads.py makes a head of their shapes.
`python -m engine.formats.torch.trunks` writes torchvision_keys.json anew.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.torch import heads
from engine.formats.torch.checkpoint import AUXILIARY
from engine.formats.torch.fill import fill
from engine.formats.torch.name import Candidate, Name
from models.torchvision_shim import import_torchvision

Weights = Mapping[str, np.ndarray]
KEYS = Path(__file__).with_name("torchvision_keys.json")
PREFIX = "torchvision/"
NEED_REAL_MEMORY = "regnet"  # torchvision's RegNets can't be built on the meta device
NEED_THEIR_SIZE = ("vit", "swin", "maxvit", "inception", "googlenet")
SIZES = {"inception_v3": 299}
HEADS = ("fc", "classifier", "head", "heads", "linear")
STEMS_THAT_STAY = ("vgg", "alexnet", "vit", "swin", "convnext", "inception", "googlenet")
POOLS = ("maxpool", "maxpool1", "features.pool0")  # right behind the stem
SMALL = 112  # of images with fewer pixels a side, the stem is often changed


def candidates(weights: Weights, size: int | None) -> list[Candidate]:
    """Returns the classifiers that have this trunk, the likeliest first; none has it: an empty list."""
    weights = _without_auxiliary(weights)
    table, found = json.loads(KEYS.read_text(encoding="utf-8")), []
    names = dict.fromkeys(name for key in _hashes(weights) for name in table.get(key, ()))
    for name in names:
        try:
            network = build(Name(PREFIX + name), weights)
        except BadInput:
            continue
        channels, classes = _ends_of(network)
        for side in _usual_sizes(name, network, size):
            found.append(Candidate(PREFIX + name, side, channels, classes))
        found += [
            Candidate(
                Name(PREFIX + name, options).text(),
                found[-1].size if size is None else size,
                channels,
                classes,
            )
            for options in _other_stems(network, name, size)
        ]
    return found


def variations(name: Name, weights: Weights) -> list[Name]:
    """Returns the network with the activations that a head of its own may have; none for the usual head."""
    if heads.dense_layers(build(name, weights)) < 2:
        return []
    return [name.with_options(head=activation) for activation in heads.ACTIVATIONS]


def build(name: Name, weights: Weights) -> nn.Module:
    """Builds a classifier with the stem and the head that the weights have, and fills it, in eval mode.

    Raises BadInput where there is none of that name, or the weights don't fit it.
    """
    own = name.network.removeprefix(PREFIX)
    if own not in _names():
        raise BadInput(f"torchvision has no classifier called '{own[:60]}': choose one such as resnet18.")
    weights = _without_auxiliary(weights)
    network = _skeleton(own)
    trunk, rest = _parted(network, weights, name.network)
    _fit_stem(network, trunk, name.options)
    head = heads.fit(network, rest, name.options.get("head", ""), own)
    return fill(network, trunk | head, name.network)


def listed() -> list[str]:
    """Returns the names of all classifiers that can be built, as `torchvision/resnet18`."""
    table = json.loads(KEYS.read_text(encoding="utf-8"))
    return sorted({PREFIX + name for names in table.values() for name in names})


def _names() -> list[str]:
    models = import_torchvision().models
    return models.list_models(module=models)


def _skeleton(name: str) -> nn.Module:
    """Returns the network on the meta device, without auxiliary heads."""
    auxiliary = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name.startswith(NEED_REAL_MEMORY) else "meta"):
        return import_torchvision().models.get_model(name, weights=None, **auxiliary)


def _without_auxiliary(weights: Weights) -> dict[str, np.ndarray]:
    return {key: value for key, value in weights.items() if not AUXILIARY.search(key)}


# ---- which trunk -------------------------------------------------------------------------------------------


def _trunk_of(network: nn.Module) -> list[str]:
    """Returns the names of the tensors before the head, in their order."""
    head = heads.place(network) + "."
    return [key for key in network.state_dict() if not key.startswith(head) and not _is_counter(key)]


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _hashes(weights: Weights) -> list[str]:
    """Returns what the table may have these weights under: by names, then by order."""
    found = []
    for prefix in _prefixes(weights):
        names = [_usual(key) for key in _under(weights, prefix)]
        found += [_by_names(n for n in names if not n.startswith(head + ".")) for head in HEADS]
    running, stem_seen = hashlib.sha256(), False
    for count, (key, value) in enumerate(weights.items(), start=1):
        stem, stem_seen = not stem_seen and value.ndim == 4, stem_seen or value.ndim == 4
        running.update(_mark(key, value.shape, stem))
        found.append(f"{count}:{running.hexdigest()[:12]}")
    return found


def _mark(key: str, shape: Iterable[int], stem: bool) -> bytes:
    """Returns what counts of a tensor where names don't: of the stem's, the number of outputs alone."""
    shape = list(shape)
    return f"{key.rpartition('.')[2]} {shape[:1] if stem else shape}\n".encode()


def _by_names(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def _by_order(network: nn.Module) -> str:
    running, state, stem_seen = hashlib.sha256(), network.state_dict(), False
    trunk = _trunk_of(network)
    for key in trunk:
        stem, stem_seen = not stem_seen and state[key].ndim == 4, stem_seen or state[key].ndim == 4
        running.update(_mark(key, state[key].shape, stem))
    return f"{len(trunk)}:{running.hexdigest()[:12]}"


def _prefixes(weights: Weights) -> list[str]:
    """Returns what may stand before the trunk's names: nothing, or the name of a module around it."""
    first = dict.fromkeys(key.partition(".")[0] + "." for key in weights if "." in key)
    second = dict.fromkeys(".".join(key.split(".")[:2]) + "." for key in weights if key.count(".") > 1)
    return ["", *first, *second] if len(first) + len(second) < 200 else [""]


def _under(weights: Weights, prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in weights if key.startswith(prefix)]


def _usual(key: str) -> str:
    return key.replace(".shortcut.", ".downsample.")


def _parted(network: nn.Module, weights: Weights, name: str) -> tuple[dict, dict]:
    """Returns the trunk's tensors under torchvision's names, and the rest. Raises BadInput: not this one."""
    trunk = _trunk_of(network)
    state, wanted = network.state_dict(), set(trunk)
    for prefix in _prefixes(weights):
        named = {_usual(key.removeprefix(prefix)): key for key in weights if key.startswith(prefix)}
        if wanted <= set(named):
            taken = {key: named[key] for key in trunk}
            return {key: weights[own] for key, own in taken.items()}, _rest(weights, set(taken.values()))
    first = list(weights)[: len(trunk)]
    stem = next((key for key in trunk if state[key].ndim == 4), "")
    same = len(first) == len(trunk) and all(
        own.rpartition(".")[2] == key.rpartition(".")[2]
        and (key == stem or tuple(state[key].shape) == weights[own].shape)
        for key, own in zip(trunk, first, strict=True)
    )
    if same:
        return dict(zip(trunk, map(weights.get, first), strict=True)), _rest(weights, set(first))
    lacking = next(key for key in trunk if key not in weights)
    raise BadInput(f"The weights don't fit {name}: the file lacks '{lacking}'; name another architecture.")


def _rest(weights: Weights, taken: set[str]) -> dict[str, np.ndarray]:
    return {key: value for key, value in weights.items() if key not in taken}


# ---- stem and size -----------------------------------------------------------------------------------------


def _fit_stem(network: nn.Module, trunk: Weights, options: Mapping[str, str]) -> None:
    """Fits the first convolution to the weights: other channels, or the 3x3 stem that small images get."""
    path, stem = _stem_of(network)
    given = trunk[f"{path}.weight"]
    small = given.shape[2:] == (3, 3) and stem.kernel_size == (7, 7)
    stride = int(options.get("stride", 1 if small else stem.stride[0]))
    if given.ndim != 4 or given.shape[0] != stem.out_channels:
        return  # `fill` names the mismatch
    height, width = given.shape[2:]
    padding = stem.padding if (height, width) == stem.kernel_size else (height // 2, width // 2)
    assert isinstance(padding, tuple)
    parent, _, own = path.rpartition(".")
    with torch.device("meta"):
        made = nn.Conv2d(
            given.shape[1],
            stem.out_channels,
            (height, width),
            stride,
            (padding[0], padding[1]),
            bias=stem.bias is not None,
        )
    setattr(network.get_submodule(parent), own, made)
    pool = _pool_of(network)
    if pool and options.get("pool", "no" if small else "yes") == "no":
        parent, _, own = pool.rpartition(".")
        setattr(network.get_submodule(parent), own, nn.Identity())


def _stem_of(network: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((path, m) for path, m in network.named_modules() if isinstance(m, nn.Conv2d))


def _pool_of(network: nn.Module) -> str:
    modules = dict(network.named_modules())
    return next((path for path in POOLS if path in modules), "")


def _other_stems(network: nn.Module, name: str, size: int | None) -> list[dict[str, str]]:
    """Returns the options of the stems that the weights leave open: stride, and whether pooling follows.

    A changed kernel tells that the stem was made for other images; so may small images without one.
    """
    stem, pool = _stem_of(network)[1], _pool_of(network)
    with torch.device("meta"):
        changed = stem.kernel_size != _stem_of(_skeleton(name))[1].kernel_size
    if stem.kernel_size == (1, 1) or stem.kernel_size[0] > 7 or name.startswith(STEMS_THAT_STAY):
        return []
    if not changed and (size is None or size > SMALL):
        return []
    pooled = pool and ("no" if isinstance(network.get_submodule(pool), nn.Identity) else "yes")
    every = [(stride, kind) for stride in (2, 1) for kind in (("yes", "no") if pool else ("",))]
    return [
        {"stride": str(stride)} | ({"pool": kind} if kind else {})
        for stride, kind in every
        if (stride, kind) != (stem.stride[0], pooled)
    ]


def _usual_sizes(name: str, network: nn.Module, size: int | None) -> list[int]:
    """Returns the sides of images that such a network is trained on, the likeliest first."""
    if isinstance(getattr(network, "maxpool", None), nn.Identity):
        return [size or 32]
    if name.startswith(NEED_THEIR_SIZE) or size is None:
        return [SIZES.get(name, 224)]
    return list(dict.fromkeys((size, 64, 96, 224) if size < 96 else (224, size)))


def _ends_of(network: nn.Module) -> tuple[int, int]:
    return _stem_of(network)[1].in_channels, int(list(network.state_dict().values())[-1].shape[0])


def _write_keys() -> None:
    table: dict[str, list[str]] = {}
    for name in _names():
        if name != "regnet_y_128gf":  # 645 million weights
            network = _skeleton(name)
            for key in (_by_names(_trunk_of(network)), _by_order(network)):
                table.setdefault(key, []).append(name)
    rows = (
        f' "{key}": {json.dumps(names)}' for key, names in sorted(table.items(), key=lambda item: item[1])
    )
    KEYS.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    _write_keys()
