"""BatchNorm (and Rescaling, Normalization) taken up by the layer before it, as it is deployed.

Where no layer can, it becomes a 1x1 depthwise convolution: the same arithmetic, with scales per channel once
it is quantized, and nothing that the converter would multiply into the weights behind it.
"""

from dataclasses import replace

import keras
import numpy as np

from engine.backends.keras.channels import ELEMENTWISE, PASSING
from engine.backends.keras.graph import DROPPED, INPUT, WEIGHTED, Graph, Network, Node, Ref, renamed


def folded(network: Network) -> Network:
    """Returns the network without BatchNorm (but on flat inputs), every layer with weights with a bias."""
    network = _flat_scaling_in_dense(_with_biases(network))
    graph, weights = network.graph, dict(network.weights)
    readers, uses = graph.readers(), _uses(graph)
    becomes: dict[str, Ref] = {}
    result: dict[str, Node] = {}
    widths = {INPUT: graph.input_shape[-1]}
    for node in graph.nodes:
        widths[node.name] = _width(node, weights.get(node.layer, []), widths)
        node = renamed(node, becomes)
        if _scales(node) and uses[node.layer] == 1:
            scale, shift = _scale_and_shift(node, weights[node.layer], widths[node.name])
            before = result.get(node.inputs[0].node)
            if (
                before is not None
                and before.kind in WEIGHTED
                and uses[before.layer] == 1
                and before.name != graph.logits.node
                and len(readers[before.name]) == 1
                and before.name not in {r.node for r in becomes.values()}
            ):
                weights[before.layer] = _absorbed(before.kind, weights[before.layer], scale, shift)
                weights.pop(node.layer, None)
                becomes[node.name] = Ref(before.name)
                continue
            if _rank(node) == 4:
                node = _as_convolution(node)
                weights[node.layer] = [scale.reshape(1, 1, -1, 1), shift]
        result[node.name] = node
    return Network(
        Graph(
            tuple(result.values()),
            graph.input_shape,
            becomes.get(graph.output.node, graph.output),
            becomes.get(graph.logits.node, graph.logits),
        ),
        weights,
    )


def _with_biases(network: Network) -> Network:
    """Returns the network with a bias, zero where it had none, in every layer with weights."""
    weights, nodes = dict(network.weights), []
    for node in network.graph.nodes:
        if node.kind in WEIGHTED and not node.config.get("use_bias", True):
            node = replace(node, config=node.config | {"use_bias": True})
            if len(weights[node.layer]) == 1:
                (kernel,) = weights[node.layer]
                weights[node.layer] = [kernel, np.zeros(_channels(node.kind, kernel), np.float32)]
        nodes.append(node)
    return Network(replace(network.graph, nodes=tuple(nodes)), weights)


def _flat_scaling_in_dense(network: Network) -> Network:
    """Returns the network with one scale for all numbers of a flat image, or of its rows, taken up by the
    dense layer behind it. The converter would do so too, and then that layer's weights are not found.
    """
    graph, weights = network.graph, dict(network.weights)
    readers, uses = graph.readers(), _uses(graph)
    becomes: dict[str, Ref] = {}
    for node in reversed(graph.nodes):  # from the last: one scale may follow another
        if node.kind != "Rescaling" or _rank(node) == 4 or any(n.size > 1 for n in _numbers(node)):
            continue
        behind = readers.get(node.name, [])
        while len(behind) == 1 and (
            behind[0].kind in ("Flatten", "Reshape", *DROPPED) or behind[0].name in becomes
        ):
            behind = readers.get(behind[0].name, [])
        if len(behind) == 1 and behind[0].kind == "Dense" and uses[behind[0].layer] == 1:
            kernel, bias = weights[behind[0].layer]
            scale, shift = map(float, _numbers(node))
            weights[behind[0].layer] = [kernel * np.float32(scale), bias + np.float32(shift) * kernel.sum(0)]
            becomes = {n: node.inputs[0] if r.node == node.name else r for n, r in becomes.items()}
            becomes[node.name] = node.inputs[0]
    kept = tuple(renamed(node, becomes) for node in graph.nodes if node.name not in becomes)
    return Network(replace(graph, nodes=kept), {k: v for k, v in weights.items() if k not in becomes})


def _uses(graph: Graph) -> dict[str, int]:
    found: dict[str, int] = {}
    for node in graph.nodes:
        found[node.layer] = found.get(node.layer, 0) + 1
    return found


def _rank(node: Node) -> int:
    layer = node.operation
    return len(layer.input.shape) if isinstance(layer, keras.layers.Layer) else 4


def _channels(kind: str, kernel: np.ndarray) -> int:
    return kernel.shape[2] * kernel.shape[3] if kind == "DepthwiseConv2D" else kernel.shape[-1]


def _width(node: Node, arrays: list[np.ndarray], widths: dict[str, int]) -> int:
    """Returns how many channels a node gives, 0 where its inputs' don't tell."""
    if node.kind in WEIGHTED:
        return _channels(node.kind, arrays[0])
    if node.kind == "BatchNormalization":
        return len(arrays[0])
    if node.kind == "Concatenate":
        return sum(widths[ref.node] for ref in node.inputs)
    if node.kind in PASSING or node.kind in ELEMENTWISE or node.kind == "Activation":
        return max(widths[ref.node] for ref in node.inputs)
    output = getattr(node.operation, "output", None)  # what can't be followed keeps all its channels
    return output.shape[-1] if isinstance(output, keras.KerasTensor) and len(output.shape) > 1 else 0


def _scales(node: Node) -> bool:
    """Tells whether a node multiplies and shifts each channel by numbers of its own."""
    if node.kind == "Rescaling":
        return _rank(node) == 4
    if node.kind == "Normalization":
        axes = node.config["axis"] if isinstance(node.config["axis"], list | tuple) else [node.config["axis"]]
        return _rank(node) == 4 and not node.config.get("invert") and set(axes) <= {None, -1, 3}
    return node.kind == "BatchNormalization"


def _scale_and_shift(node: Node, arrays: list[np.ndarray], width: int) -> tuple[np.ndarray, np.ndarray]:
    if node.kind in ("Rescaling", "Normalization"):
        channels = np.ones(width, np.float64)
        return tuple((channels * a).astype(np.float32) for a in _numbers(node))
    arrays = list(arrays)
    gamma = arrays.pop(0) if node.config.get("scale", True) else 1.0
    beta = arrays.pop(0) if node.config.get("center", True) else 0.0
    mean, variance = (a.astype(np.float64) for a in arrays)
    scale = gamma / np.sqrt(variance + node.config["epsilon"])
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _numbers(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a Rescaling or Normalization multiplies by and adds, one number each or one a channel."""
    if node.kind == "Rescaling":
        return np.asarray(node.operation.scale, np.float64), np.asarray(node.operation.offset, np.float64)
    mean, variance = (np.ravel(node.config[key]).astype(np.float64) for key in ("mean", "variance"))
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    return 1 / deviation, -mean / deviation


def _absorbed(kind: str, arrays: list[np.ndarray], scale: np.ndarray, shift: np.ndarray) -> list[np.ndarray]:
    kernel, bias = arrays
    spread = scale.reshape(kernel.shape[2:]) if kind == "DepthwiseConv2D" else scale
    return [kernel * spread, bias * scale + shift]


def _as_convolution(node: Node) -> Node:
    config = {"name": node.config["name"], "kernel_size": 1, "use_bias": True, "dtype": "float32"}
    return replace(
        node,
        kind="DepthwiseConv2D",
        operation=keras.layers.DepthwiseConv2D,
        config=config,
        kwargs={},
        affine=True,
    )
