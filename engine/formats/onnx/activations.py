"""Activations that exporters write in parts, put together again: GELU by the error function (Hendrycks and
Gimpel, arXiv 1606.08415), and SiLU. In parts, a layer's channels seem to be read in many places.
"""

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper


class Parts:
    """A graph's nodes by what they give, and who reads it."""

    def __init__(self, graph: onnx.GraphProto):
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.kept = {value.name for value in graph.output}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def reader(self, node: onnx.NodeProto, kind: str) -> onnx.NodeProto | None:
        """Returns the only reader of what a node gives, where it is of this kind."""
        found = self.readers.get(node.output[0], [])
        alone = len(found) == 1 and found[0].op_type == kind and node.output[0] not in self.kept
        return found[0] if alone else None

    def besides(self, node: onnx.NodeProto, name: str) -> str:
        """Returns the other one of a node's two inputs, or ""."""
        others = [other for other in node.input if other != name]
        return others[0] if len(others) == 1 else ""

    def is_number(self, name: str, value: float) -> bool:
        """Tells whether this is a stored number, near this value."""
        tensor = self.stored.get(name)
        if tensor is None or math.prod(tensor.dims) != 1:
            return False
        return bool(np.isclose(numpy_helper.to_array(tensor).item(), value, rtol=1e-3))

    def scaled(self, name: str, factor: float) -> str:
        """Returns what is multiplied by this number to give `name`, or ""."""
        node = self.makers.get(name)
        if node is None or node.op_type not in ("Mul", "Div"):
            return ""
        wanted = factor if node.op_type == "Mul" else 1 / factor
        if self.is_number(node.input[1], wanted):
            return node.input[0]
        return node.input[1] if node.op_type == "Mul" and self.is_number(node.input[0], wanted) else ""


def join_activations(graph: onnx.GraphProto, domain: str) -> list[onnx.NodeProto]:
    """Makes, in place, a `Gelu` or `Swish` of this domain of what means one; returns them."""
    parts, made = Parts(graph), []
    for given, last, kind in _found(graph, parts):
        last.op_type, last.domain = kind, domain
        del last.input[:], last.attribute[:]
        last.input.append(given)
        made.append(last)
    return made


def _found(graph: onnx.GraphProto, parts: Parts) -> Iterator[tuple[str, onnx.NodeProto, str]]:
    """Yields what goes in, the node that gives the result, and the operator that it is."""
    for node in graph.node:
        if node.op_type == "Sigmoid" and (last := parts.reader(node, "Mul")) is not None:
            if node.input[0] in last.input:
                yield node.input[0], last, "Swish"
        elif node.op_type == "Erf":
            given = parts.scaled(node.input[0], math.sqrt(0.5))
            plus = parts.reader(node, "Add")
            if not given or plus is None or not parts.is_number(parts.besides(plus, node.output[0]), 1.0):
                continue
            if (last := _half_of_product(parts, given, plus)) is not None:
                yield given, last, "Gelu"


def _half_of_product(parts: Parts, given: str, plus: onnx.NodeProto) -> onnx.NodeProto | None:
    """Returns the node that gives half of `given` times what `plus` gives, in whatever order it comes."""
    first = parts.reader(plus, "Mul")
    if first is None:
        return None
    other = parts.besides(first, plus.output[0])
    if parts.scaled(other, 0.5) == given:
        return first
    last = parts.reader(first, "Mul")
    if last is None:
        return None
    rest = parts.besides(last, first.output[0])
    halved = other == given and parts.is_number(rest, 0.5)
    return last if halved or (parts.is_number(other, 0.5) and rest == given) else None
