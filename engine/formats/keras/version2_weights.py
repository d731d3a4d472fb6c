"""The weights of a Keras 2 file put into the layers that `version2.build` made.

`.h5` keeps a nested model's weights in one list, trainable ones first: names tell whose they are, and where
names don't, the order does. `.keras` keeps them layer by layer, under names made from the layers' classes.
"""

import re
from collections.abc import Iterator

import h5py
import keras
import numpy as np
from keras.src.legacy.saving.legacy_h5_format import load_attributes_from_hdf5_group

from engine.errors import BadInput
from engine.formats.keras.config import ADVICE
from engine.formats.keras.version2 import Part

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
ATTENTION = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")  # in Keras' own order
RANDOM = ("StateVar", "seed_generator")  # a generator's state, which is no weight


def set_from_h5(file: h5py.File, root: Part) -> None:
    """Sets all weights from an `.h5` file. Raises BadInput where they are not the layers' own."""
    groups = file.get("model_weights", file)
    for part in root.parts.values():
        named = []
        if part.name in groups:
            group = groups[part.name]
            names = [_text(name) for name in load_attributes_from_hdf5_group(group, "weight_names")]
            named = [(n, group[n]) for n in names if not any(word in n for word in RANDOM)]
        _assign(part, named)


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _layers(part: Part) -> list[Part]:
    """Returns the layers in a part that have weights, each once."""
    found = {
        id(leaf.made): leaf
        for leaf in part.leaves()
        if isinstance(leaf.made, keras.layers.Layer) and leaf.made.weights
    }
    return list(found.values())


def _assign(part: Part, named: list[tuple[str, h5py.Dataset]]) -> None:
    leaves = _layers(part)
    for order in (_by_name, _by_flags, _trainable_first, _layer_by_layer):
        shares = order(leaves, named)
        if sum(map(len, shares)) == len(named) and all(
            [value.shape for _, value in share] == [tuple(w.shape) for w in leaf.made.weights]
            for leaf, share in zip(leaves, shares, strict=True)
        ):
            for leaf, share in zip(leaves, shares, strict=True):
                _set(leaf, [np.asarray(value) for _, value in share])
            return
    raise BadInput(
        f"The weights of '{part.name[:60]}' in the Keras file don't fit its layers: save the model again,"
        f" and {ADVICE}"
    )


def _set(leaf: Part, values: list[np.ndarray]) -> None:
    leaf.made.set_weights(values)
    if hasattr(leaf.made, "finalize_state"):
        leaf.made.finalize_state()


def _by_name(leaves: list[Part], named: list) -> list[list]:
    return [[entry for entry in named if leaf.name in entry[0].split("/")[:-1]] for leaf in leaves]


def _counts(leaf: Part) -> tuple[int, int]:
    """Returns how many weights of a layer training changes, and how many it doesn't, were it not frozen."""
    trained = len(leaf.made.trainable_weights)
    return trained, len(leaf.made.weights) - trained


def _by_flags(leaves: list[Part], named: list) -> list[list]:
    counts = [_counts(leaf) if leaf.trainable else (0, len(leaf.made.weights)) for leaf in leaves]
    return _dealt(counts, named)


def _trainable_first(leaves: list[Part], named: list) -> list[list]:
    return _dealt([_counts(leaf) for leaf in leaves], named)


def _layer_by_layer(leaves: list[Part], named: list) -> list[list]:
    return _dealt([(0, len(leaf.made.weights)) for leaf in leaves], named)


def _dealt(counts: list[tuple[int, int]], named: list) -> list[list]:
    """Deals entries out in order: first to each its first number, then to each its second."""
    shares: list[list] = [[] for _ in counts]
    rest = iter(named)
    for turn in (0, 1):
        for share, count in zip(shares, counts, strict=True):
            share += [entry for _, entry in zip(range(count[turn]), rest, strict=False)]
    return shares


# ---- .keras ------------------------------------------------------------------------------------------------


def set_from_store(file: h5py.File, root: Part) -> None:
    """Sets all weights from the store of a `.keras` file. Raises BadInput where one is missing."""
    for leaf, places in _placed(root, [[]]):
        if isinstance(leaf.made, keras.layers.Layer) and leaf.made.weights:
            values = next((v for place in places if (v := _variables(file, place))), [])
            if [v.shape for v in values] != [tuple(w.shape) for w in leaf.made.weights]:
                raise BadInput(
                    f"The weights of '{leaf.name[:60]}' in the Keras file don't fit the layer: save the whole"
                    f" model again, and {ADVICE}"
                )
            _set(leaf, values)


def _placed(part: Part, places: list[list[str]]) -> Iterator[tuple[Part, list[list[str]]]]:
    """Yields every layer with the paths at which its weights may lie: versions differ in the containers."""
    counts: dict[str, int] = {}
    for inner in part.parts.values():
        name = _snake(inner.kind)
        number = counts[name] = counts.get(name, -1) + 1
        name += f"_{number}" if number else ""
        within = [[*place, container, name] for place in places for container in CONTAINERS]
        if inner.parts:
            yield from _placed(inner, within[:8])
        else:
            yield inner, within


def _snake(name: str) -> str:
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _variables(file: h5py.File, place: list[str]) -> list[np.ndarray]:
    for between in ("/", "\\"):  # files of Windows have names with backslashes in them
        group = file.get(between.join(place))
        if group is None:
            continue
        own = _numbered(file.get(between.join([*place, "vars"])))
        inside = [between.join([*place, inner, "vars"]) for inner in ATTENTION]
        return own or [value for path in inside for value in _numbered(file.get(path))]
    return []


def _numbered(group: h5py.Group | None) -> list[np.ndarray]:
    if group is None:
        return []
    return [np.asarray(group[name]) for name in sorted((n for n in group if n.isdigit()), key=int)]
