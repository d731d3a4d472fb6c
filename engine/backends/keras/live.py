"""Where a network runs: Keras layers with variables, made from its graph and called node by node."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from engine.backends.keras.graph import DROPPED, INPUT, Graph, Network, Node, Ref

MOMENTUM = 0.9  # Keras' own 0.99 needs more steps than a fine-tuning has before the statistics follow


class Live:
    """The layers of one graph. Networks of the same graph take turns in it: `load` puts a network's weights
    in.

    `shapes` holds the shape of every node's outputs for a batch of one.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.layers: dict[str, Callable] = {}
        for node in graph.nodes:
            if node.layer not in self.layers:
                self.layers[node.layer] = self._made(node)
        self.shapes: dict[str, list[tuple[int, ...]]] = {INPUT: [(1, *graph.input_shape)]}
        self.current: dict[str, list] = {}
        self.step: tf.Tensor | tf.Variable = tf.constant(
            0, tf.int64
        )  # the training step, which dropout follows
        self.run(tf.zeros((1, *graph.input_shape)), look=self._note)
        self.logits = tf.function(
            lambda x: self._flat(self.run(x, until=graph.logits)),
            autograph=False,
            input_signature=[tf.TensorSpec((None, *graph.input_shape), tf.float32)],
        )

    @staticmethod
    def _made(node: Node) -> Callable:
        if not node.config:
            return node.operation  # an operation without state
        made = node.operation if isinstance(node.operation, type) else type(node.operation)
        layer = made.from_config(node.config | {"name": node.layer.replace("/", "_").replace(".", "_")})
        if node.kind == "BatchNormalization":
            layer.momentum = MOMENTUM
        return layer

    def _note(self, node: Node, inputs: tuple, outputs: list) -> None:
        self.shapes[node.name] = [tuple(x.shape) for x in outputs]

    @staticmethod
    def _flat(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (tf.shape(x)[0], -1))

    def load(self, network: Network) -> "Live":
        """Takes a network's weights over; only what differs from the one before is written."""
        for name, arrays in network.weights.items():
            held = self.current.get(name)
            if held is not None and all(a is b for a, b in zip(held, arrays, strict=True)):
                continue
            if arrays:
                self.layers[name].set_weights(arrays)
            self.current[name] = list(arrays)
        return self

    def put(self, weights: dict[str, list[np.ndarray]]) -> None:
        """Puts weights in that `taken` returned."""
        for name, arrays in weights.items():
            if arrays:
                self.layers[name].set_weights(arrays)

    def taken(self) -> dict[str, list[np.ndarray]]:
        """Returns copies of the weights as they are now, and forgets whose they were."""
        found = {
            name: (
                [np.array(w.numpy()) for w in layer.weights] if isinstance(layer, keras.layers.Layer) else []
            )
            for name, layer in self.layers.items()
        }
        self.current = {}
        return found

    def run(
        self,
        x: tf.Tensor,
        training: bool = False,
        look: Callable | None = None,
        call: Callable | None = None,
        until: Ref | None = None,
    ) -> tf.Tensor:
        """Calls node after node and returns the tensor `until` (the graph's output by default).

        look(node, inputs, outputs): sees every node's tensors. call(node, layer, x): stands in for the call
        of layers with weights.
        """
        until = until or self.graph.output
        values: dict[str, list[tf.Tensor]] = {INPUT: [x]}

        def fill(value):
            return values[value.node][value.index] if isinstance(value, Ref) else value

        for number, node in enumerate(self.graph.nodes):
            layer = self.layers[node.layer]
            args, kwargs = tree.map_structure(fill, node.args), tree.map_structure(fill, node.kwargs)
            if node.kind in DROPPED:
                result = self._dropped(node, args[0], number, training)
            elif call is not None and node.weighted:
                result = call(node, layer, args[0])
            elif node.kind == "BatchNormalization":
                result = layer(*args, **kwargs, training=training)
            else:
                result = layer(*args, **kwargs)
            values[node.name] = list(result) if isinstance(result, (list, tuple)) else [result]
            if look is not None:
                look(node, args, values[node.name])
            if node.name == until.node:
                break
        return values[until.node][until.index]

    def _dropped(self, node: Node, x: tf.Tensor, number: int, training: bool) -> tf.Tensor:
        """Dropout by a seed that follows the training step, so that a run can be repeated; identity
        otherwise.
        """
        if not training or node.kind != "Dropout" or not node.config.get("rate"):
            return x
        return tf.nn.experimental.stateless_dropout(
            x, node.config["rate"], seed=tf.stack([self.step, tf.constant(number, tf.int64)])
        )


class Lives:
    """The networks that are live: the last few graphs, so that the same structure is not built again and
    again.
    """

    def __init__(self, most: int = 3):
        self.most, self.held = most, {}

    def __call__(self, network: Network) -> Live:
        """Returns the live form of a network's graph with its weights in place."""
        key = network.graph.signature()
        live = self.held.pop(key, None) or Live(network.graph)
        self.held[key] = live
        while len(self.held) > self.most:
            del self.held[next(iter(self.held))]
        return live.load(network)


def rows_of(node: Node, x: tf.Tensor) -> np.ndarray:
    """Returns all inputs that a layer's weights meet, float32 [n, in · kh · kw]: input channel first, as
    techniques order them.
    """
    if node.kind == "Dense":
        return x.numpy().reshape(-1, x.shape[-1])
    (kh, kw), (sh, sw), (dh, dw) = (_pair(node, key) for key in ("kernel_size", "strides", "dilation_rate"))
    patches = tf.image.extract_patches(
        x, [1, kh, kw, 1], [1, sh, sw, 1], [1, dh, dw, 1], node.config.get("padding", "valid").upper()
    ).numpy()
    channels = int(x.shape[-1])
    return patches.reshape(-1, kh * kw, channels).transpose(0, 2, 1).reshape(-1, channels * kh * kw)


def _pair(node: Node, key: str) -> tuple[int, int]:
    value = node.config.get(key, 1)
    return (value, value) if isinstance(value, int) else tuple(value)
