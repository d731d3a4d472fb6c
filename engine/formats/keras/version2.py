"""A model as Keras 2 described it, built from the layers of Keras 3: nested models are laid flat and
TensorFlow's operators become layers.

The configuration has been checked; what no layer of Keras 3 can stand for raises BadInput. Weights come after
(version2_weights.py), from the tree of `Part`s that is returned beside the model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from engine.errors import BadInput
from engine.formats.keras.config import ADVICE, MAX_LAYERS
from engine.formats.keras.operators import OPERATORS

MODELS = ("Sequential", "Functional", "Model")
OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda")
RENAMED = {"BatchNormalizationV1": "BatchNormalization", "SyncBatchNormalization": "BatchNormalization"}
ENDINGS = ("_initializer", "_regularizer", "_constraint")  # of options that only training needs
GONE = {  # options that Keras 3 no longer has, and that change no answer
    "": ("batch_input_shape", "input_shape", "input_dtype", "dtype", "sparse", "ragged", "build_input_shape"),
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("groups",),
    "BatchNormalization": (
        *("renorm", "renorm_clipping", "renorm_momentum", "virtual_batch_size", "fused", "adjustment"),
        "synchronized",
    ),
    "Dropout": ("noise_shape",),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
    "Resizing": ("fill_mode", "fill_value"),
}


@dataclass
class Part:
    """One entry of a configuration: a layer, an operator, or a model of parts.

    Attributes:
        name, kind: As in the file.
        trainable: As in the file; it decides in which order a nested model's weights were saved.
        made: The Keras layer, or a function of tensors; None for a model.
        parts: Of a model, by name in the file's order. graph: its configuration. chain: whether they follow
            one another.
    """

    name: str
    kind: str
    trainable: bool = True
    made: Any = None
    parts: dict[str, "Part"] = field(default_factory=dict)
    graph: dict = field(default_factory=dict)
    chain: bool = False

    def leaves(self) -> list["Part"]:
        """Returns the layers in it, in the file's order."""
        if not self.parts:
            return [self]
        return [leaf for part in self.parts.values() for leaf in part.leaves()]


def build(config: dict) -> tuple[keras.Model, Part]:
    """Returns the model, its weights still unset, and its parts. Raises BadInput, or what Keras raises."""
    root = _part(config, set(), "")
    shape = _input_shape(config)
    if shape is None:
        raise BadInput(
            f"The Keras file doesn't tell the size of the model's input: call the model once on an image and"
            f" {ADVICE}"
        )
    image = keras.Input(tuple(shape[1:]), name="image")
    outputs = _Calls()(root, [image])
    return keras.Model(image, outputs, name=root.name.replace("/", "_")), root


def _part(entry: dict, taken: set[str], within: str) -> Part:
    kind, config = str(entry["class_name"]), entry.get("config") or {}
    if kind in MODELS:
        config = config if isinstance(config, dict) else {"name": "sequential", "layers": config}
        name = str(entry.get("name") or config.get("name") or kind.lower())
        inside = {}
        for layer in config.get("layers", ()):
            part = _part(layer, taken, f"{name}_")
            inside[part.name] = part
        return Part(name, kind, parts=inside, graph=config, chain="output_layers" not in config)
    name = str(entry.get("name") or config.get("name") or kind.lower())
    part = Part(name, kind, bool(config.get("trainable", True)))
    if kind == "InputLayer" or (kind.startswith("Random") and kind != "RandomCrop"):
        part.made = _same
    elif kind in OPERATOR_LAYERS:
        part.made = _operator(config)
    else:
        part.made = _layer(RENAMED.get(kind, kind), config, _unique(name.replace("/", "_"), taken, within))
    return part


def _same(x):
    return x


def _unique(name: str, taken: set[str], within: str) -> str:
    wanted, number = name, 2
    while name in taken:
        name, number = (f"{within}{wanted}" if number == 2 else f"{within}{wanted}_{number}"), number + 1
    taken.add(name)
    return name


def _layer(kind: str, config: dict, name: str) -> keras.layers.Layer:
    gone = {*GONE[""], *GONE.get(kind, ())}
    options = {k: v for k, v in config.items() if k not in gone and not k.endswith(ENDINGS)}
    if kind == "BatchNormalization" and isinstance(options.get("axis"), list):
        options["axis"] = options["axis"][0]
    if isinstance(options.get("activation"), dict):
        options["activation"] = options["activation"].get("config")
    return getattr(layers, kind).from_config(options | {"name": name, "dtype": "float32"})


def _operator(config: dict) -> Callable:
    function = str(config.get("function", ""))
    found = OPERATORS.get(function)
    if found is None:
        raise BadInput(
            f"The Keras model holds the TensorFlow operator '{function[:60]}', which has no layer here:"
            f" replace it by layers of Keras and {ADVICE}"
        )
    return found


def _input_shape(config: Any) -> list | None:
    """Returns the first input shape that a configuration tells, with the batch in front."""
    if not isinstance(config, dict):
        return None
    inside = config.get("config")
    inside = {"layers": inside} if isinstance(inside, list) else inside or {}
    for key in ("batch_input_shape", "batch_shape", "build_input_shape"):
        if isinstance(inside.get(key), list):
            return inside[key]
    wanted = {name for name, *_ in _references(inside.get("input_layers", []))}
    entries = [e for e in inside.get("layers", ()) if not wanted or e.get("name") in wanted]
    return next((shape for entry in entries[:1] if (shape := _input_shape(entry))), None)


# ---- calling ---------------------------------------------------------------------------------------------


class _Calls:
    """Calls parts on tensors, and counts: models within models, each called twice, double every time."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, part: Part, given: list, options: dict | None = None) -> list:
        """Returns what a part makes of tensors, as a list."""
        self.made += 1
        if self.made > MAX_LAYERS:
            raise BadInput(f"The Keras model calls more than {MAX_LAYERS:,} layers: choose a smaller model.")
        if part.chain:
            for inner in part.parts.values():
                given = self(inner, given)
            return given
        if part.parts:
            return self._graph(part, given)
        made = part.made(given[0] if len(given) == 1 else given, **(options or {}))
        return list(made) if isinstance(made, list | tuple) else [made]

    def _graph(self, part: Part, given: list) -> list:
        """Calls a functional model's parts, each as often as the file says, once what it reads is there."""
        calls: dict[str, list] = {}
        for (name, *_), x in zip(_references(part.graph["input_layers"]), given, strict=True):
            calls[name] = [[x]]
        pending = []
        for name, entry in zip(part.parts, part.graph["layers"], strict=True):
            if name not in calls:
                nodes = entry.get("inbound_nodes") or ()
                calls[name] = [None] * len(nodes)
                pending += [(name, place, node) for place, node in enumerate(nodes)]

        def tensor(reference: list):
            name, node, index = reference[:3]
            made = calls[name]
            # a model's own input and output count as its first call
            place = 0 if len(made) == 1 else node - (1 if part.parts[name].parts else 0)
            return None if made[place] is None else made[place][index]

        while pending:
            waiting = []
            for name, place, node in pending:
                tensors, options = _arguments(node, calls, tensor)
                if any(x is None for x in tensors):
                    waiting.append((name, place, node))
                else:
                    calls[name][place] = self(part.parts[name], tensors, options)
            if len(waiting) == len(pending):
                raise BadInput(f"The layers of the Keras model read each other in a circle: {ADVICE}")
            pending = waiting
        return [tensor(reference) for reference in _references(part.graph["output_layers"])]


def _arguments(node: Any, calls: dict, tensor: Callable) -> tuple[list, dict]:
    """Returns the tensors and the other options of one call; a tensor that is not made yet is None."""
    tensors: list = []
    options: dict = {}
    node = [node] if node and isinstance(node[0], str) else node
    for name, index, place, *more in node:
        tensors.append(place if name == "_CONSTANT_VALUE" else tensor([name, index, place]))
        options |= more[0] if more else {}
    options = {k: v for k, v in options.items() if k not in ("training", "mask", "name")}
    for key, value in options.items():
        if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and value[0] in calls:
            options[key] = tensor(value)
            if options[key] is None:
                return [None], {}
    return tensors, options


def _references(value: Any) -> list[list]:
    """Returns the [layer, call, output] triples of a list that may be nested."""
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
        return [value]
    values = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [triple for item in values for triple in _references(item)]
