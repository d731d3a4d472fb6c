"""Keras models as plain graphs: a tuple of nodes that can be rewritten, and weights as NumPy arrays beside
it.

A `Network` is a value: techniques copy it by copying two references. It becomes live (Keras layers with
variables)
only where it runs, in keras_live.py. `graph_of` brings a model into the one form that everything else relies
on:
nested models are inlined, activations stand on their own, a separable convolution is a depthwise and a
pointwise one.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import tree

from engine.errors import BadInput

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense")
DROPPED = (
    "Dropout",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
)
INPUT = "input"
EVERYWHERE = {
    "dtype": "float32",
    "trainable": True,
}  # whatever mixed precision or frozen layers it was trained with


@dataclass(frozen=True)
class Ref:
    """The output number `index` of a node."""

    node: str
    index: int = 0


@dataclass(frozen=True)
class Node:
    """One call of a Keras layer or operation.

    Attributes:
        kind: The layer's class name; `config` is what its class makes it from again.
        operation: The layer or operation itself; layers are made anew from it, operations without state are
            called.
        args, kwargs: What it is called with, a `Ref` in the place of each tensor.
        layer: Whose weights it uses; nodes that share weights share this name.
        affine: A BatchNorm that no layer before it could take up, written as a depthwise convolution of 1x1.
    """

    name: str
    kind: str
    operation: Any
    config: dict
    args: tuple
    kwargs: dict
    layer: str
    affine: bool = False

    @property
    def inputs(self) -> list[Ref]:
        """The nodes' outputs that it reads, in order."""
        return [x for x in tree.flatten((self.args, self.kwargs)) if isinstance(x, Ref)]

    @property
    def weighted(self) -> bool:
        """Whether techniques may change its weights."""
        return self.kind in WEIGHTED and not self.affine


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can run. `logits` is `output` before a closing softmax or sigmoid."""

    nodes: tuple[Node, ...]
    input_shape: tuple[int, int, int]
    output: Ref
    logits: Ref

    def signature(self) -> str:
        """Returns a hash of the structure: equal for networks that differ in values only."""
        plain = [
            (
                n.name,
                n.kind,
                json.dumps(n.config, sort_keys=True, default=_stable),
                repr(n.args),
                repr(n.kwargs),
                n.layer,
            )
            for n in self.nodes
        ]
        return hashlib.sha256(repr((plain, self.input_shape, self.output)).encode()).hexdigest()[:24]

    def readers(self) -> dict[str, list[Node]]:
        """Returns, by node, the nodes that read its output."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for ref in node.inputs:
                found.setdefault(ref.node, []).append(node)
        return found

    def weighted(self) -> Iterator[Node]:
        """Yields the nodes whose weights techniques may change, a shared layer once."""
        seen: set[str] = set()
        for node in self.nodes:
            if node.weighted and node.layer not in seen:
                seen.add(node.layer)
                yield node


@dataclass(frozen=True)
class Network:
    """A graph and its layers' weights in Keras' own order and layout, float32. Treated as immutable."""

    graph: Graph
    weights: dict[str, list[np.ndarray]]


def _stable(value: Any) -> str:
    return type(value).__name__


def graph_of(model: keras.Model) -> Network:
    """Takes a functional or sequential model apart. Raises BadInput where there is no graph to take apart."""
    nodes: list[Node] = []
    weights: dict[str, list[np.ndarray]] = {}
    shape = tuple(model.inputs[0].shape[1:])
    output = _inline(model, [Ref(INPUT)], "", nodes, weights, set())
    if len(output) != 1:
        raise BadInput(
            "The Keras model has several outputs, and a classifier has one: cut it down to the one that you"
            " want."
        )
    graph = _without_identities(Graph(tuple(nodes), shape, output[0], output[0]))
    return Network(replace(graph, logits=_before_closing(graph)), weights)


def _inline(model, inputs: list[Ref], prefix: str, nodes: list, weights: dict, taken: set) -> list[Ref]:
    function = getattr(model, "_functional", None) or model
    if not hasattr(function, "_nodes_by_depth"):
        raise BadInput(
            f"The Keras model {model.name} is written as code of its own and not as a graph of layers: "
            "rebuild it as a functional or sequential model."
        )
    known = dict(zip(map(id, function.inputs), inputs, strict=True))

    def refer(value):
        return known[id(value)] if isinstance(value, keras.KerasTensor) else value

    for depth in sorted(function._nodes_by_depth, reverse=True):
        for call in function._nodes_by_depth[depth]:
            if call.is_input or any(id(x) not in known for x in call.input_tensors):
                continue
            args = tree.map_structure(refer, tuple(call.arguments.args))
            kwargs = {
                k: tree.map_structure(refer, v)
                for k, v in call.arguments.kwargs.items()
                if k not in ("training", "mask")
            }
            made = _add(call.operation, args, kwargs, prefix, nodes, weights, taken)
            known |= dict(zip(map(id, call.outputs), made, strict=True))
    return [known[id(x)] for x in function.outputs]


def _add(
    operation, args: tuple, kwargs: dict, prefix: str, nodes: list, weights: dict, taken: set
) -> list[Ref]:
    if isinstance(operation, keras.Model):
        given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Ref)]
        return _inline(operation, given, f"{prefix}{operation.name}.", nodes, weights, taken)
    layer = f"{prefix}{operation.name}"
    name, number = layer, 2
    while name in taken:
        name, number = f"{layer}_{number}", number + 1
    taken.add(name)
    if not isinstance(operation, keras.layers.Layer):
        nodes.append(Node(name, type(operation).__name__, operation, {}, args, kwargs, layer))
        outputs = tree.flatten(operation.output)
        return [Ref(name, i) for i in range(len(outputs))]
    parts = _parts(operation, layer)
    last = None
    for suffix, kind, config, arrays in parts:
        taken.add(name + suffix)
        called = args if last is None else (Ref(last),)
        nodes.append(
            Node(
                name + suffix,
                kind.__name__,
                operation if kind is type(operation) else kind,
                config | EVERYWHERE,
                called,
                kwargs if last is None else {},
                layer + suffix,
            )
        )
        weights[layer + suffix] = [np.asarray(a, np.float32) for a in arrays]
        last = name + suffix
    return [Ref(last, i) for i in range(len(tree.flatten(operation.output)))]


def _parts(layer: keras.layers.Layer, name: str) -> list[tuple[str, type, dict, list[np.ndarray]]]:
    """Returns what a layer becomes: (suffix of the name, class, config, weights) in order."""
    config, arrays, kind = layer.get_config(), layer.get_weights(), type(layer).__name__
    activation = getattr(layer, "activation", None)
    after = []
    if (
        kind in (*WEIGHTED, "SeparableConv2D")
        and activation is not None
        and activation is not keras.activations.linear
    ):
        config["activation"] = "linear"
        after = [
            ("_activation", keras.layers.Activation, keras.layers.Activation(activation).get_config(), [])
        ]
    if config.get("data_format") == "channels_first":
        raise BadInput(
            f"The layer {name} wants channels first, which edge runtimes don't take: build the model with"
            " channels last."
        )
    if (
        kind == "Normalization"
    ):  # numbers that nothing trains: part of the structure, so that none can be unset
        shape = [layer.mean.shape[axis] for axis in layer.axis]
        mean, variance = (np.reshape(a, shape).tolist() for a in (layer.mean, layer.variance))
        return [("", type(layer), config | {"mean": mean, "variance": variance}, [])]
    if kind != "SeparableConv2D":
        return [("", type(layer), config, arrays), *after]
    shared = {
        key: config[key]
        for key in ("name", "kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    }
    pointwise = {
        "name": config["name"],
        "filters": config["filters"],
        "kernel_size": 1,
        "use_bias": config["use_bias"],
    }
    return [
        ("_depthwise", keras.layers.DepthwiseConv2D, shared | {"use_bias": False}, arrays[:1]),
        ("", keras.layers.Conv2D, pointwise, arrays[1:]),
        *after,
    ]


def _without_identities(graph: Graph) -> Graph:
    """Leaves out what does nothing: Activation("linear") and layers that only give images more variety."""
    kept, becomes = [], {}
    for node in graph.nodes:
        node = renamed(node, becomes)
        linear = node.kind == "Activation" and node.config.get("activation") == "linear"
        if linear or node.kind.startswith("Random") or node.kind == "Identity":
            becomes[node.name] = node.inputs[0]
        else:
            kept.append(node)
    return replace(graph, nodes=tuple(kept), output=becomes.get(graph.output.node, graph.output))


def renamed(node: Node, becomes: dict[str, Ref]) -> Node:
    """Returns the node reading other outputs: those of the nodes in `becomes` are replaced."""
    if not any(ref.node in becomes for ref in node.inputs):
        return node

    def change(value):
        return becomes.get(value.node, value) if isinstance(value, Ref) else value

    return replace(
        node, args=tree.map_structure(change, node.args), kwargs=tree.map_structure(change, node.kwargs)
    )


def _before_closing(graph: Graph) -> Ref:
    nodes = {node.name: node for node in graph.nodes}
    last = nodes.get(graph.output.node)
    closing = last is not None and (
        last.kind == "Softmax"
        or (last.config.get("activation") in ("softmax", "sigmoid") and last.kind == "Activation")
    )
    return last.inputs[0] if closing else graph.output


# ---- weights in the order that techniques use: output channel first ----------------------------------------


def to_common(kind: str, kernel: np.ndarray) -> np.ndarray:
    """Turns a Keras kernel into [out, in, kh, kw], [channels, 1, kh, kw] (depthwise) or [out, in] (dense)."""
    if kind == "Dense":
        return np.ascontiguousarray(kernel.T)
    if kind == "DepthwiseConv2D":
        kh, kw, channels, multiplier = kernel.shape
        return np.ascontiguousarray(kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw))
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))


def to_keras(kind: str, weight: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The way back from `to_common`, to the shape of the kernel `like`."""
    weight = np.asarray(weight, np.float32)
    if kind == "Dense":
        return np.ascontiguousarray(weight.T)
    if kind == "DepthwiseConv2D":
        kh, kw, channels, multiplier = like.shape
        return np.ascontiguousarray(weight.reshape(channels, multiplier, kh, kw).transpose(2, 3, 0, 1))
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))


def kind_of(node: Node, kernel: np.ndarray) -> str:
    """Returns the kind of a layer with weights, as LayerInfo has it."""
    if node.kind == "DepthwiseConv2D":
        return "depthwise"
    if node.kind == "Dense":
        return "dense"
    return "grouped" if node.config.get("groups", 1) > 1 else "conv"
