"""Keras models as plain graphs: a tuple of nodes that can be rewritten, and weights as NumPy arrays beside.

A `Network` is a value: techniques copy it by copying two references. It becomes live (Keras layers with
variables) only where it runs, in live.py. apart.py makes one from a Keras model.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import tree

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


def renamed(node: Node, becomes: dict[str, Ref]) -> Node:
    """Returns the node reading other outputs: those of the nodes in `becomes` are replaced."""
    if not any(ref.node in becomes for ref in node.inputs):
        return node

    def change(value):
        return becomes.get(value.node, value) if isinstance(value, Ref) else value

    return replace(
        node, args=tree.map_structure(change, node.args), kwargs=tree.map_structure(change, node.kwargs)
    )


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
