"""Simulated quantization for Keras layers: what their weights and inputs will be in the file, while they
train.

Weights learn the step size of every output channel ("LSQ", Esser et al., arXiv 1902.08153); activations
follow a moving range (Jacob et al., arXiv 1712.05877).
"""

import keras
import numpy as np
import tensorflow as tf

from engine.backends.grid import Grid, best_scales
from engine.backends.keras.graph import Node, to_common
from engine.backends.keras.live import Live


class Simulation:
    """Stands in for the call of every layer with weights, its kernel rounded to `bits`-bit codes."""

    def __init__(self, live: Live, bits: int, activations: bool, reduced: bool):
        self.bits, self.live = bits, live
        self.high = 2 ** (bits - 1) - 1 if not (reduced and bits == 8) else 63
        self.nodes = list(live.graph.weighted())
        self.scales = {
            node.layer: tf.Variable(self._first_scale(node), name=f"{node.layer}_scale")
            for node in self.nodes
        }
        self.ranges: dict[str, tf.Variable] = {}
        self.moving = tf.Variable(True, trainable=False)  # whether ranges follow what is seen
        if activations:
            self.ranges = {node.layer: tf.Variable([0.0, -1.0], trainable=False) for node in self.nodes}

    def _first_scale(self, node: Node) -> np.ndarray:
        kernel = self.live.layers[node.layer].weights[0].numpy()
        weight = to_common(node.kind, kernel)
        scale = best_scales(weight, self.high, search=self.bits == 4)
        return self._spread(node, scale.astype(np.float32), kernel)

    @staticmethod
    def _spread(node: Node, scale: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return scale.reshape(kernel.shape[2:]) if node.kind == "DepthwiseConv2D" else scale

    def rounded(self, node: Node, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the kernel on its grid; gradients pass through to the kernel and, damped, to the scale."""
        per_channel = float(
            np.prod(kernel.shape[:2]) if node.kind == "DepthwiseConv2D" else np.prod(kernel.shape[:-1])
        )
        gain = 1.0 / np.sqrt(per_channel * self.high)
        scale = tf.maximum(self.scales[node.layer], 1e-8)
        scale = tf.stop_gradient(scale * (1 - gain)) + scale * gain
        clipped = tf.clip_by_value(kernel / scale, -self.high - 1.0, float(self.high))
        return (clipped + tf.stop_gradient(tf.round(clipped) - clipped)) * scale

    def __call__(self, node: Node, layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
        if node.layer in self.ranges:
            x = self._rounded_input(self.ranges[node.layer], x)
        kernel = layer.weights[0]
        with keras.StatelessScope([(kernel, self.rounded(node, kernel.value))]):
            return layer(x)

    def _rounded_input(self, kept: tf.Variable, x: tf.Tensor) -> tf.Tensor:
        seen = tf.stack([tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)])
        followed = tf.where(kept[1] < kept[0], seen, 0.95 * kept + 0.05 * seen)
        now = tf.cond(tf.logical_or(self.moving, kept[1] < kept[0]), lambda: followed, lambda: kept + 0.0)
        kept.assign(now)
        now = tf.stop_gradient(tf.stack([now[0], tf.maximum(now[1], now[0] + 1e-6)]))
        return tf.quantization.fake_quant_with_min_max_vars(x, now[0], now[1], num_bits=8)

    def harvest(
        self, weights: dict[str, list[np.ndarray]]
    ) -> tuple[dict[str, Grid], dict[str, tuple[float, float]]]:
        """Rounds the kernels in `weights` in place and returns each layer's grid and its input's range."""
        grids = {}
        for node in self.nodes:
            kernel, scale = weights[node.layer][0], np.maximum(self.scales[node.layer].numpy(), 1e-8)
            codes = np.clip(np.rint(kernel / scale), -self.high - 1, self.high)
            weights[node.layer][0] = (codes * scale).astype(np.float32)
            grids[node.layer] = Grid(
                self.bits, to_common(node.kind, codes).astype(np.int8), scale.ravel().astype(np.float32)
            )
        return grids, {name: tuple(map(float, kept.numpy())) for name, kept in self.ranges.items()}

    def kept(self) -> list[np.ndarray]:
        """Returns copies of all that is learned here, for a checkpoint."""
        return [v.numpy() for v in (*self.scales.values(), *self.ranges.values())]

    def put_back(self, values: list[np.ndarray]) -> None:
        """Takes a checkpoint's values again."""
        for variable, value in zip((*self.scales.values(), *self.ranges.values()), values, strict=True):
            variable.assign(value)
