"""ONNX operators as PyTorch modules, where onnx2torch has none, has only those before opset 18, or has one
whose code hangs on the values of tensors.

What has a counterpart in `torch.nn` becomes that, because techniques know its layers. Sizes and axes that the
graph stores are numbers of the module; one that the graph computes is left to onnx2torch.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from onnx import defs
from onnx2torch.node_converters import registry
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult
from torch import nn
from torch.onnx import symbolic_helper
from torch.onnx._internal.torchscript_exporter._globals import GLOBALS

from engine.formats.onnx.dense import DOMAIN

LAST = 2**31 - 1  # an end of a slice beyond any axis
Made = tuple[nn.Module, int] | None  # the module, and how many of the node's inputs it reads; None: can't
Maker = Callable[["Node"], Made]
MAKERS: dict[str, Maker] = {}


class Node:
    """One operator of a graph: its attributes, and those of its inputs that the graph stores."""

    def __init__(self, node: OnnxNode, graph: OnnxGraph):
        self.kind, self.given, self.outputs = node.operation_type, node.attributes, len(node.output_values)
        self._names, self._graph = node.input_values, graph

    def stored(self, place: int) -> torch.Tensor:
        """Returns an input's values. Raises KeyError where it is left out or the graph computes it."""
        if not self.has(place):
            raise KeyError(place)
        return self._graph.initializers[self._names[place]].to_torch()

    def has(self, place: int) -> bool:
        """Tells whether an input is given at all."""
        return place < len(self._names) and bool(self._names[place])

    def numbers(self, place: int, name: str = "") -> list:
        """Returns an input's values as a list, empty where it is left out, or those of the attribute that it
        was once. Raises KeyError where the graph computes it.
        """
        if name in self.given:
            return list(self.given[name])
        return self.stored(place).reshape(-1).tolist() if self.has(place) else []

    def shape(self, place: int = 0) -> list[int]:
        """Returns the sizes of an input, 0 where they are open. Raises KeyError where not even its rank is
        known.
        """
        if self._names[place] in self._graph.initializers:
            return list(self.stored(place).shape)
        kind = self._graph.value_info[self._names[place]].type.tensor_type
        if not kind.HasField("shape"):
            raise KeyError(self._names[place])
        return [dim.dim_value for dim in kind.shape.dim]


def maker(*kinds: str) -> Callable[[Maker], Maker]:
    """Registers what makes the modules of these operators."""

    def deco(function: Maker) -> Maker:
        MAKERS.update(dict.fromkeys(kinds, function))
        return function

    return deco


@cache
def register() -> None:
    """Teaches onnx2torch these operators, and that later versions of its own only gained types; once is
    enough.
    """
    symbolic_helper.GLOBALS = GLOBALS  # its modules ask there for the opset when they are exported
    known = registry._CONVERTER_REGISTRY
    latest: dict[str, int] = {}
    for domain, kind, version in known:
        if domain == defs.ONNX_DOMAIN:
            latest[kind] = max(version, latest.get(kind, 0))
    for schema in defs.get_all_schemas_with_history():
        kind, version = schema.name, schema.since_version
        key = registry.OperationDescription(defs.ONNX_DOMAIN, kind, version)
        if schema.domain != defs.ONNX_DOMAIN:
            continue
        own = known.get(key) or (
            version > latest.get(kind, version) and known[(defs.ONNX_DOMAIN, kind, latest[kind])]
        )
        if kind in MAKERS:
            known[key] = _converter(MAKERS[kind], own or None)
        elif own and not _says_more(kind, version, latest[kind]):
            known[key] = own
    for kind in ("Linear", "Gelu", "Swish"):
        known[registry.OperationDescription(DOMAIN, kind, 1)] = _converter(MAKERS[kind], None)


def _says_more(kind: str, version: int, before: int) -> bool:
    """Tells whether a later version of an operator has attributes or inputs that the one before it had
    not.
    """
    later, former = (defs.get_schema(kind, v, defs.ONNX_DOMAIN) for v in (version, before))
    return bool(set(later.attributes) - set(former.attributes)) or len(later.inputs) != len(former.inputs)


def _converter(make: Maker, own: Callable | None) -> Callable:
    def convert(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
        try:
            made = make(Node(node, graph))
        except KeyError:  # an axis, a size or a weight that the graph computes
            made = None
        if made is not None:
            module, count = made
            return OperationConverterResult(
                module, OnnxMapping(node.input_values[:count], node.output_values)
            )
        if own is None:
            raise NotImplementedError(f"{node.operation_type} with these inputs")
        return own(node, graph)

    return convert


class Call(nn.Module):
    """A function of one tensor with fixed arguments."""

    def __init__(self, function: Callable[..., Any], **fixed: Any):
        super().__init__()
        self.function, self.fixed = function, fixed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, **self.fixed)

    def extra_repr(self) -> str:
        return f"{self.function.__name__}, {self.fixed}"
