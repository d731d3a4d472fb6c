"""Which tensors of a checkpoint are a network's weights? Wrappers, second sets and strays told apart.

A checkpoint may hold two sets (the trained weights and their moving average), tensors that belong to no layer
(a loss with weights, a counter), and weights in parts (masks of torch's pruning, weight and spectral
normalisation). What was left out or put together is said in `notes`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import BadInput
from engine.formats.torch.pickle import Tensor

WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module"),
    *("model_state", "net_state_dict", "classifier", "backbone", "student", "shadow", "best_state_dict"),
)
AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|averaged?|shadow|polyak)(?:[._]|$)", re.I)
STRAY = re.compile(
    r"^(?:(?:criterion|criteria|loss|metrics?|(?:train|val|valid|test)_?(?:acc|accuracy|loss|metrics?|f1))"
    r"(?:_\w*)?|acc|accuracy|teacher)$",
    re.I,
)
NO_WEIGHTS = re.compile(r"optim|sched|scaler|loops|callback|hparam|hyper|config|args|rng|history", re.I)
COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged", "num_updates")
AUXILIARY = re.compile(r"(?:^|\.)(?:AuxLogits|aux_logits|aux1|aux2)\.")
MAX_DEPTH = 4
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class WeightSet:
    """One network's weights in a file.

    Attributes:
        name: Where they lay, such as "model_ema"; "" where the file holds no other set.
        weights: float32 (integers as they are) by name, without the wrappers' prefix and without counters.
        notes: What was left out or put together, as sentences.
    """

    name: str
    weights: Weights
    notes: tuple[str, ...] = ()


def sets_in(value: Any) -> list[WeightSet]:
    """Returns the weight sets of what was read from a file, an average before the weights it was made of.

    Raises BadInput where there are none.
    """
    found = [(path, tensors) for path, tensors in _state_dicts(value, "", 0) if tensors]
    sets = [
        WeightSet(".".join(filter(None, (path, part.name))), part.weights, part.notes)
        for path, tensors in found
        for part in split({name: tensor.array() for name, tensor in tensors.items()})
    ]
    if not sets:
        raise BadInput(
            "The file holds no weights that could be found: it must be a dictionary of tensors, or have one"
            f" under {', '.join(WRAPPERS[:4])} or the like; put model.state_dict() there, or export the"
            " network with `torch.onnx.export(model.eval(), example, 'model.onnx', external_data=False)`."
        )
    return named(sets)


def named(sets: list[WeightSet]) -> list[WeightSet]:
    """Returns the sets with the averages first; one alone needs no name."""
    if len(sets) == 1:
        return [WeightSet("", sets[0].weights, sets[0].notes)]
    return sorted(sets, key=lambda one: not AVERAGED.search(one.name))


def chosen(architecture: str, sets: Sequence[WeightSet]) -> tuple[str, WeightSet]:
    """Returns the network's own name and the set that `…,weights=NAME` chooses, the first by default. Raises
    BadInput where the file has no such set.
    """
    network, _, name = architecture.partition(",weights=")
    for one in sets:
        if not name or one.name == name:
            return network, one
    names = ", ".join(one.name for one in sets if one.name) or "one set without a name"
    raise BadInput(f"The file holds no set of weights called '{name[:60]}': it has {names}.")


def _state_dicts(value: Any, path: str, depth: int) -> list[tuple[str, Mapping[str, Tensor]]]:
    """Returns the dictionaries of tensors in a checkpoint with their places."""
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        return []
    tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors and len(tensors) >= len(value) / 2 and any(v.shape for v in tensors.values()):
        return [(path, tensors)]
    inner = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, dict)}
    known = [key for key in WRAPPERS if key in inner][:1]
    wanted = known + [key for key in inner if AVERAGED.search(key) and key not in known]
    others = [key for key in inner if not NO_WEIGHTS.search(key)]
    return [
        found
        for key in (wanted or (others if len(others) == 1 else ()))
        for found in _state_dicts(inner[key], f"{path}.{key}".lstrip("."), depth + 1)
    ]


def split(tensors: Mapping[str, np.ndarray]) -> list[WeightSet]:
    """Returns the sets in one flat dictionary of tensors, usually one. Raises BadInput for values that are
    not finite.
    """
    whole, notes = _whole({key: value for key, value in tensors.items() if not key.endswith(COUNTERS)})
    for key, value in whole.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadInput(
                f"The weights of '{key[:60]}' hold values that are not finite: train or save the model again."
            )
    return [
        WeightSet(name, weights, (*notes, *_left_out(strays))) for name, weights, strays in _networks(whole)
    ]


def _networks(tensors: Weights) -> list[tuple[str, Weights, list[str]]]:
    """Goes down the names' first parts as long as all but one lead to strays; gives name, weights, strays."""
    strays: list[str] = []
    while True:
        groups: dict[str, Weights] = {}
        for key, value in tensors.items():
            first, dot, rest = key.partition(".")
            groups.setdefault(first if dot else "", {})[rest if dot else key] = value
        loose = groups.pop("", {})
        strays += [key for key, value in loose.items() if value.ndim == 0]
        loose = {key: value for key, value in loose.items() if value.ndim}
        gone = [name for name, inner in groups.items() if _is_stray(name, inner)]
        real = {name: inner for name, inner in groups.items() if name not in gone}
        averages = [name for name in gone if any(_shapes(groups[name]) == _shapes(i) for i in real.values())]
        gone = [name for name in gone if name not in averages]
        if not real and averages:
            real, averages = {averages[0]: groups[averages[0]]}, averages[1:]
        if len(real) == 1 and not loose:
            strays += [f"{name}.{key}" for name in gone for key in groups[name]]
            inner = next(iter(real.values()))
            if averages:
                return [
                    (name, weights, [*strays, *more])
                    for name in (*averages, *real)
                    for _, weights, more in _networks(groups[name])
                ]
            tensors = inner
            continue
        if gone and real:  # strays beside a network whose layers lie at this level
            strays += [f"{name}.{key}" for name in gone for key in groups[name]]
            tensors = {key: value for key, value in tensors.items() if key.partition(".")[0] not in gone}
        return [("", {key: value for key, value in tensors.items() if value.ndim}, strays)]


def _is_stray(name: str, inner: Weights) -> bool:
    return bool(
        all(value.ndim == 0 for value in inner.values())
        or set(inner) <= {"mean", "std"}
        or STRAY.match(name)
        or AVERAGED.search(name)
    )


def _shapes(tensors: Weights) -> list[tuple[int, ...]]:
    return sorted(value.shape for value in tensors.values() if value.ndim > 1)


def _left_out(strays: list[str]) -> list[str]:
    if not strays:
        return []
    more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
    return [
        "Tensors that belong to no layer of the network were left out:"
        f" {', '.join(name[:60] for name in strays[:3])}{more}."
    ]


# ---- weights in parts --------------------------------------------------------------------------------------


def _whole(tensors: Weights) -> tuple[Weights, list[str]]:
    """Puts weights together that are stored in parts, before the layer's other tensors."""
    made, used, notes = {}, set(), []
    for key in tensors:
        for first, others, put, note in PARTS:
            stem = key.removesuffix(first)
            parts = [key, *(stem + other for other in others)]
            if stem == key or key in used or not all(part in tensors for part in parts):
                continue
            made[stem + ("bias" if "bias" in first else "weight")] = put(*(tensors[part] for part in parts))
            used.update(parts)
            notes.append(note)
    left = [key for key in tensors if "parametrizations." in key and key not in used]
    if left:
        raise BadInput(
            f"The weights of '{left[0][:60]}' are computed from parts in a way that the file does not tell:"
            " call torch.nn.utils.parametrize.remove_parametrizations on the layer before saving."
        )
    if not made:
        return dict(tensors), []
    layers: dict[str, Weights] = {}
    for key in tensors:  # in the order of the layers
        layers.setdefault(re.sub(r"\.?parametrizations\..*$|\.?[^.]*$", "", key, count=1), {})
    for key, value in [*made.items(), *((k, v) for k, v in tensors.items() if k not in used)]:
        layers[key.rpartition(".")[0]][key] = value
    return {key: value for layer in layers.values() for key, value in layer.items()}, list(
        dict.fromkeys(notes)
    )


def _masked(weight: np.ndarray, mask: np.ndarray) -> np.ndarray:
    _check(weight.shape == mask.shape)
    return weight * mask.astype(np.float32)


def _scaled(length: np.ndarray, direction: np.ndarray) -> np.ndarray:
    _check(length.ndim in (0, direction.ndim) or length.size == 1)
    axes = tuple(i for i in range(direction.ndim) if length.ndim != direction.ndim or length.shape[i] == 1)
    norm = np.sqrt((direction.astype(np.float64) ** 2).sum(axis=axes, keepdims=True))
    _check(norm.size == length.size)
    return (direction * (length.reshape(norm.shape) / np.maximum(norm, 1e-12))).astype(np.float32)


def _spectral(weight: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    _check(weight.ndim >= 2 and weight.size > 0)
    matrix = weight.reshape(len(weight), -1)
    _check(left.shape == matrix.shape[:1] and right.shape == matrix.shape[1:])
    return (weight / np.float32(left @ matrix @ right)).astype(np.float32)


def _check(fits: bool) -> None:
    if not fits:
        raise BadInput(
            "Parts of a weight in the file (a mask, or a normalised weight's length) don't fit each other:"
            " save the weights again."
        )


MASKS = "The masks of torch.nn.utils.prune were multiplied into the weights."
NORMS = "Weights under weight normalisation were multiplied out."
SPECTRAL = "Weights under spectral normalisation were divided by their norm."
# the ending of the part that comes first, the other parts' endings, what puts them together, what to say
Part = tuple[str, tuple[str, ...], Callable[..., np.ndarray], str]
PARTS: tuple[Part, ...] = (
    ("weight_orig", ("weight_mask",), _masked, MASKS),
    ("bias_orig", ("bias_mask",), _masked, MASKS),
    ("weight_orig", ("weight_u", "weight_v"), _spectral, SPECTRAL),
    ("weight_g", ("weight_v",), _scaled, NORMS),
    ("parametrizations.weight.original0", ("parametrizations.weight.original1",), _scaled, NORMS),
    (
        "parametrizations.weight.original",
        ("parametrizations.weight.0._u", "parametrizations.weight.0._v"),
        _spectral,
        SPECTRAL,
    ),
)
