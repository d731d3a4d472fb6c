"""A Keras model taken apart into the one form of graph that everything else relies on.

Nested models are inlined, activations stand on their own, a separable convolution is a depthwise and a
pointwise one, arithmetic between layers is layers.
"""

from dataclasses import replace

import keras
import numpy as np
from keras import tree

from engine.backends.keras.arithmetic import tidied
from engine.backends.keras.graph import EVERYWHERE, INPUT, WEIGHTED, Graph, Network, Node, Ref, renamed
from engine.errors import BadInput


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
    graph = tidied(_without_identities(Graph(tuple(nodes), shape, output[0], output[0])))
    graph = replace(graph, logits=_before_closing(graph))
    return Network(graph, {node.layer: weights.get(node.layer, []) for node in graph.nodes})


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
    last = ""
    for suffix, kind, config, arrays in parts:
        taken.add(name + suffix)
        called = (Ref(last),) if last else args
        nodes.append(
            Node(
                name + suffix,
                kind.__name__,
                operation if kind is type(operation) else kind,
                config | EVERYWHERE,
                called,
                {} if last else kwargs,
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
    after: list = []
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
    kept: list[Node] = []
    becomes: dict[str, Ref] = {}
    for node in graph.nodes:
        node = renamed(node, becomes)
        linear = node.kind == "Activation" and node.config.get("activation") == "linear"
        augments = node.kind.startswith("Random") and node.kind != "RandomCrop"  # which crops at all times
        if linear or augments or node.kind == "Identity":
            becomes[node.name] = node.inputs[0]
        else:
            kept.append(node)
    return replace(graph, nodes=tuple(kept), output=becomes.get(graph.output.node, graph.output))


def _before_closing(graph: Graph) -> Ref:
    nodes = {node.name: node for node in graph.nodes}
    last = nodes.get(graph.output.node)
    if last is not None and (
        last.kind in ("Softmax", "Sigmoid")
        or (last.config.get("activation") in ("softmax", "sigmoid") and last.kind == "Activation")
    ):
        return last.inputs[0]
    return graph.output
