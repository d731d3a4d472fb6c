"""Arithmetic between layers written as layers: a number multiplied or added is a Rescaling, which folds into
the layers around it, and the four operators of a hard swish are one activation.
"""

from dataclasses import replace

import keras
import numpy as np

from engine.backends.keras.graph import Graph, Node, Ref

SCALING = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative")


def tidied(graph: Graph) -> Graph:
    """Returns the graph with numbers between layers as Rescaling layers and hard swishes as activations."""
    graph = replace(graph, nodes=tuple(_as_rescaling(node) for node in graph.nodes))
    return _with_hard_activations(graph)


def _as_rescaling(node: Node) -> Node:
    """Returns a node of an operation with one tensor and numbers, one or one a channel, as a Rescaling."""
    operands = [*node.args, *node.kwargs.values()]
    if node.kind not in SCALING or isinstance(node.operation, keras.layers.Layer) or len(node.inputs) != 1:
        return node
    given = node.operation.input
    if not isinstance(given, keras.KerasTensor):
        return node
    numbers = [np.asarray(x, np.float64) for x in operands if not isinstance(x, Ref)]
    if any(n.size != 1 and (n.size, n.shape[-1]) != (given.shape[-1],) * 2 for n in numbers):
        return node
    found = _scale_and_offset(node.kind, isinstance(operands[0], Ref), *numbers)
    if found is None:
        return node
    layer = keras.layers.Rescaling(*(_plain(n) for n in found), dtype="float32")
    layer(given)  # so that it knows its input's shape
    config = layer.get_config() | {"name": node.name, "trainable": True}
    return replace(node, kind="Rescaling", operation=layer, config=config, args=(node.inputs[0],), kwargs={})


def _scale_and_offset(kind: str, tensor_first: bool, number=None) -> tuple | None:
    """Returns (a, b) of a · x + b, or None where it is something else, as a number divided by a tensor."""
    if kind == "Negative":
        return -1.0, 0.0
    if kind == "Add":
        return 1.0, number
    if kind == "Multiply":
        return number, 0.0
    if kind == "Subtract":
        return (1.0, -number) if tensor_first else (-1.0, number)
    return (1.0 / number, 0.0) if tensor_first and np.all(number != 0) else None


def _plain(number) -> float | list[float]:
    flat = np.ravel(number).tolist()
    return flat[0] if len(flat) == 1 else flat


# ---- hard sigmoid and hard swish ---------------------------------------------------------------------------


def _with_hard_activations(graph: Graph) -> Graph:
    """Returns the graph with relu6(x + 3) / 6 as a hard sigmoid, and x times that as a hard swish."""
    nodes = {node.name: node for node in graph.nodes}
    readers = {name: len(found) for name, found in graph.readers().items()}
    becomes: dict[str, tuple[str, Ref]] = {}
    for node in graph.nodes:
        if node.name == graph.output.node:
            continue
        if found := _hard(node, nodes, readers, becomes):
            becomes[node.name] = found
    return replace(graph, nodes=_needed(graph, becomes)) if becomes else graph


def _hard(node: Node, nodes: dict, readers: dict, becomes: dict) -> tuple[str, Ref] | None:
    def inner(ref: Ref) -> Node | None:
        found = nodes.get(ref.node)
        return found if found is not None and readers[ref.node] == 1 else None

    def shifted(ref: Ref) -> Ref | None:
        """Returns x where the node is relu6(x + 3)."""
        clipped = inner(ref)
        plus = inner(clipped.inputs[0]) if clipped is not None and _is_relu6(clipped) else None
        return plus.inputs[0] if plus is not None and _is_scaling(plus, 1.0, 3.0) else None

    if _is_scaling(node, 1 / 6, 0.0):
        if (x := shifted(node.inputs[0])) is not None:
            return "hard_sigmoid", x
        product = inner(node.inputs[0])
        if product is not None and product.kind == "Multiply" and len(product.inputs) == 2:
            for one, other in (product.inputs, product.inputs[::-1]):
                if shifted(one) == other:
                    return "hard_silu", other
    if node.kind == "Multiply" and len(node.inputs) == 2:
        for one, other in (node.inputs, node.inputs[::-1]):
            if becomes.get(one.node) == ("hard_sigmoid", other) and readers[one.node] == 1:
                return "hard_silu", other
    return None


def _is_relu6(node: Node) -> bool:
    return (
        node.kind == "Relu6"
        or (node.kind == "Activation" and node.config.get("activation") == "relu6")
        or (
            node.kind == "ReLU"
            and node.config.get("max_value") == 6
            and not node.config.get("negative_slope")
            and not node.config.get("threshold")
        )
    )


def _is_scaling(node: Node, scale: float, offset: float) -> bool:
    if node.kind != "Rescaling":
        return False
    found = node.operation.scale, node.operation.offset
    return bool(np.allclose(found[0], scale, atol=1e-6) and np.allclose(found[1], offset, atol=1e-6))


def _needed(graph: Graph, becomes: dict[str, tuple[str, Ref]]) -> tuple[Node, ...]:
    """Returns the nodes with the activations in place, without those that nothing reads any more."""
    made = []
    for node in graph.nodes:
        if node.name in becomes:
            kind, x = becomes[node.name]
            layer = keras.layers.Activation(kind, name=node.name.replace("/", "_"), dtype="float32")
            node = Node(node.name, "Activation", layer, layer.get_config(), (x,), {}, node.name)
        made.append(node)
    wanted, kept = {graph.output.node, graph.logits.node}, []
    for node in reversed(made):
        if node.name in wanted:
            wanted |= {ref.node for ref in node.inputs}
            kept.append(node)
    return tuple(reversed(kept))
