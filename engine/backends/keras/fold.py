"""BatchNorm (and Rescaling, Normalization) taken up by the layer before it, as it is deployed. Where no layer
can, it
becomes a 1x1 depthwise convolution: the same arithmetic, with scales per channel once it is quantized, and
nothing that
the converter would multiply into the weights behind it."""

from dataclasses import replace

import keras
import numpy as np

from engine.backends.keras.graph import WEIGHTED, Graph, Network, Node, Ref, renamed


def folded(network: Network) -> Network:
    """Returns the network without BatchNorm (but on flat inputs), every layer with weights with a bias."""
    graph, weights = network.graph, dict(network.weights)
    readers, uses = graph.readers(), _uses(graph)
    becomes: dict[str, Ref] = {}
    result: dict[str, Node] = {}
    for node in graph.nodes:
        node = renamed(node, becomes)
        if node.kind in WEIGHTED and not node.config.get("use_bias", True):
            node = replace(node, config=node.config | {"use_bias": True})
            weights[node.layer] = (
                [weights[node.layer][0], np.zeros(_channels(node.kind, weights[node.layer][0]), np.float32)]
                if len(weights[node.layer]) == 1
                else weights[node.layer]
            )
        if _scales(node) and uses[node.layer] == 1:
            scale, shift = _scale_and_shift(node, weights[node.layer])
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


def _scales(node: Node) -> bool:
    """Tells whether a node multiplies and shifts each channel by numbers of its own."""
    if node.kind in ("Rescaling", "Normalization"):
        return (
            _rank(node) == 4
            and not node.config.get("invert")
            and node.config.get("axis", -1) in (-1, 3, [-1], [3], (-1,), (3,))
        )
    return node.kind == "BatchNormalization"


def _scale_and_shift(node: Node, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    layer = node.operation
    if node.kind in ("Rescaling", "Normalization"):
        channels = np.ones(layer.input.shape[-1], np.float64)
        if node.kind == "Rescaling":
            return (
                (channels * np.asarray(layer.scale)).astype(np.float32),
                (channels * np.asarray(layer.offset)).astype(np.float32),
            )
        mean, deviation = np.ravel(layer.mean), np.maximum(np.sqrt(np.ravel(layer.variance)), 1e-7)
        return (channels / deviation).astype(np.float32), (channels * -mean / deviation).astype(np.float32)
    arrays = list(arrays)
    gamma = arrays.pop(0) if node.config.get("scale", True) else 1.0
    beta = arrays.pop(0) if node.config.get("center", True) else 0.0
    mean, variance = (a.astype(np.float64) for a in arrays)
    scale = gamma / np.sqrt(variance + node.config["epsilon"])
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


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
