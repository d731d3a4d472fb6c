"""Keras networks: every primitive of `Framework` on Keras models.

A network is a value, `graph.Network`: a graph and NumPy weights. It runs in live.py, is folded in fold.py,
trained in training.py, narrowed in channels.py and exported by export.py.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from engine.backends.images import images_at_once
from engine.backends.keras import channels as keras_channels
from engine.backends.keras import training as keras_training
from engine.backends.keras.apart import graph_of
from engine.backends.keras.channels import Channels
from engine.backends.keras.fold import folded
from engine.backends.keras.graph import Network, Node, Ref, kind_of, to_common, to_keras
from engine.backends.keras.live import Live, Lives, rows_of
from engine.backends.protocol import Facts, LayerInfo, Trained, Training
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.formats import open_network
from engine.vocabulary import ModelFile, Preprocessing

LOOK_SHARE, GRADIENT_SHARE = (
    0.125,
    0.25,
)  # of the images that go through at once when only the answers are kept
TAYLOR_IMAGES = 512
SIZES = ("filters", "units", "target_shape", "use_bias")  # of a node's options, what techniques change


class Keras:
    """See `Framework`. `cache` is a folder for converted graphs, `threads` what TensorFlow and LiteRT may
    use.
    """

    def __init__(self, preprocessing: Preprocessing, cache: Path, threads: int = 1):
        self.preprocessing, self.cache, self.threads = preprocessing, cache, threads
        tf.get_logger().setLevel("ERROR")  # the user reads our sentences, not the converter's advice
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            pass  # TensorFlow has begun to work already and keeps what it has
        self.live = Lives()

    # ---- opening and looking -------------------------------------------------------------------------------

    def load(self, model: ModelFile) -> Network:
        return graph_of(open_network(model))

    def facts(self, network: Network) -> Facts:
        live = self.live(network)
        layers = self._layers(network, live)
        macs, parameters = self.cost(network)
        quantized = any(
            getattr(live.layers[n.layer], "quantization_mode", None) for n in network.graph.weighted()
        )
        return Facts(
            framework="keras",
            layers=tuple(layers),
            parameters=parameters,
            macs=macs,
            quantized=quantized,
            unprunable=keras_channels.why_unprunable(Channels(network, live.shapes)),
            locked=self.locked(network),
        )

    def locked(self, network: Network) -> dict[str, str]:
        """Returns why layers keep all their channels in structured pruning, by layer."""
        return Channels(network, self.live(network).shapes).locked()

    def _layers(self, network: Network, live: Live) -> list[LayerInfo]:
        found = []
        for node in network.graph.weighted():
            kernel = network.weights[node.layer][0]
            shape = to_common(node.kind, kernel).shape
            positions = int(np.prod(live.shapes[node.name][0])) // shape[0]
            found.append(LayerInfo(node.layer, kind_of(node, kernel), shape, int(np.prod(shape)) * positions))
        if found:
            found[-1] = replace(found[-1], is_output=True)
        return found

    def cost(self, network: Network) -> tuple[int, int]:
        live = self.live(network)
        parameters = sum(
            int(np.prod(w.shape))
            for layer in live.layers.values()
            for w in getattr(layer, "trainable_weights", ())
        )
        return sum(layer.macs for layer in self._layers(network, live)), parameters

    def step_seconds(self, network: Network, train: Part, batch: int, seconds: float) -> float:
        training = Training(steps=1, batch=batch, learning_rate=1e-5, seed=0)
        learner = keras_training.KerasLearner(self.live(network), training)
        inputs = self._inputs(np.asarray(train.images[:batch]))
        labels = train.labels[:batch].astype(np.int64)
        learner.step(inputs, labels, None, training.learning_rate)  # the first one traces and does not count
        times, deadline = [], time.perf_counter() + seconds
        while len(times) < 2 or time.perf_counter() < deadline:
            began = time.perf_counter()
            learner.step(inputs, labels, None, training.learning_rate)
            times.append(time.perf_counter() - began)
        learner.live.taken()
        return float(np.median(times))

    def _inputs(self, images: np.ndarray) -> np.ndarray:
        return preprocess(images, self.preprocessing.model_dump())

    # ---- weights -------------------------------------------------------------------------------------------

    def weights(self, network: Network) -> dict[str, np.ndarray]:
        return {
            node.layer: to_common(node.kind, network.weights[node.layer][0])
            for node in network.graph.weighted()
        }

    def with_weights(
        self, network: Network, weights: dict[str, np.ndarray], biases: dict[str, np.ndarray] | None = None
    ) -> Network:
        changed, nodes = dict(network.weights), {node.layer: node for node in network.graph.weighted()}
        for name, array in weights.items():
            kernel, *bias = changed[name]
            changed[name] = [to_keras(nodes[name].kind, array, kernel), *bias]
        for name, array in (biases or {}).items():
            changed[name] = [changed[name][0], np.asarray(array, np.float32)]
        graph = network.graph
        if without := {name for name in biases or {} if not nodes[name].config.get("use_bias", True)}:
            graph = replace(
                graph,
                nodes=tuple(
                    replace(n, config=n.config | {"use_bias": True}) if n.layer in without else n
                    for n in graph.nodes
                ),
            )
        return Network(graph, changed)

    def biases(self, network: Network) -> dict[str, np.ndarray]:
        found = {}
        for node in network.graph.weighted():
            kernel, *bias = network.weights[node.layer]
            found[node.layer] = (
                bias[0].copy() if bias else np.zeros(len(to_common(node.kind, kernel)), np.float32)
            )
        return found

    def folded(self, network: Network) -> Network:
        return folded(network)

    # ---- running -------------------------------------------------------------------------------------------

    def logits(self, network: Network, images: np.ndarray) -> np.ndarray:
        live = self.live(network)
        return np.concatenate(
            [
                live.logits(tf.constant(self._inputs(images[i : i + self._size(1.0)]))).numpy()
                for i in range(0, len(images), self._size(1.0))
            ]
        )

    def _look(self, network: Network, images: np.ndarray, look: Callable) -> None:
        live, size = self.live(network), self._size(LOOK_SHARE)
        for start in range(0, len(images), size):
            live.run(tf.constant(self._inputs(images[start : start + size])), look=look)

    def _size(self, share: float) -> int:
        return images_at_once(self.preprocessing.height, self.preprocessing.width, share)

    def input_grams(
        self, network: Network, images: np.ndarray, layers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        return self._input_means(network, images, layers, lambda rows: rows.T @ rows)

    def input_means(self, network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
        return self._input_means(network, images, None, lambda rows: rows.sum(axis=0))

    def _input_means(
        self,
        network: Network,
        images: np.ndarray,
        layers: Sequence[str] | None,
        total: Callable[[np.ndarray], np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Returns, by layer, the mean of what `total` sums over the rows of inputs that weights meet."""
        sums: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}

        def look(node: Node, inputs: tuple, outputs: list) -> None:
            if (
                not node.weighted
                or (layers is not None and node.layer not in layers)
                or kind_of(node, network.weights[node.layer][0]) not in ("conv", "dense")
            ):
                return
            rows = rows_of(node, inputs[0])
            found = total(rows)
            sums.setdefault(node.layer, np.zeros(found.shape))
            sums[node.layer] += found  # in place: a wide layer's takes 100 MB
            counts[node.layer] = counts.get(node.layer, 0) + len(rows)

        self._look(network, images, look)
        return {name: sum_ / counts[name] for name, sum_ in sums.items()}

    def input_rows(self, network: Network, images: np.ndarray, layer: str) -> Iterator[np.ndarray]:
        node = next(node for node in network.graph.weighted() if node.layer == layer)
        seen: list[np.ndarray] = []

        def look(one: Node, inputs: tuple, outputs: list) -> None:
            if one.name == node.name:
                seen.append(rows_of(one, inputs[0]))

        for start in range(0, len(images), size := self._size(LOOK_SHARE)):
            part = tf.constant(self._inputs(images[start : start + size]))
            # live anew for each part: another network of this structure may have been so meanwhile
            self.live(network).run(part, look=look, until=Ref(node.name))
            yield seen.pop()

    def train(
        self,
        network: Network,
        train: Part,
        validation: Part,
        training: Training,
        progress: Callable[[float], None],
    ) -> Trained:
        start = folded(network) if training.fake_bits else network
        live = Live(start.graph).load(start)  # its own: the teacher may be of the same structure
        return keras_training.train(live, start, train, validation, training, self.preprocessing, progress)

    # ---- structure -----------------------------------------------------------------------------------------

    def remove_channels(
        self,
        network: Network,
        ratios: dict[str, float],
        importance: str,
        part: Part | None,
        seed: int,
        multiple: int = 4,
    ) -> Network:
        score = keras_channels.magnitude(network)
        if importance == "taylor" and part is not None:
            score = self._taylor(network, part, seed)
        channels = Channels(network, self.live(network).shapes)
        return self._checked(keras_channels.remove(network, channels, ratios, score, multiple))

    def _taylor(self, network: Network, part: Part, seed: int) -> Callable:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(part.labels))[:TAYLOR_IMAGES])
        inputs, labels = self._inputs(np.asarray(part.images[chosen])), part.labels[chosen].astype(np.int64)
        size = self._size(GRADIENT_SHARE)
        pairs = [
            (tf.constant(inputs[i : i + size]), labels[i : i + size]) for i in range(0, len(labels), size)
        ]
        live = self.live(network)
        slopes = keras_training.gradients(live, pairs)
        held = {name: [w.numpy() for w in live.layers[name].trainable_weights] for name in slopes}
        return lambda node: keras_channels.norms(
            node, [s * w for s, w in zip(slopes[node.layer], held[node.layer], strict=True)]
        )

    def _checked(self, network: Network) -> Network:
        try:
            self.live(network)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise keras_channels.Unprunable(
                f"the network no longer runs once channels are removed ({reason})"
            ) from None
        return network

    def slim(self, network: Network, width: float, seed: int, multiple: int = 4) -> Network:
        random = np.random.default_rng(seed)
        channels = Channels(network, self.live(network).shapes)
        ratios = {node.layer: 1 - width for node in network.graph.weighted()}
        slim = keras_channels.remove(
            network,
            channels,
            ratios,
            lambda node: (random.uniform(size=len(channels.of[node.name][0])), None),
            multiple,
        )
        return self._checked(
            Network(slim.graph, keras_channels.fresh_weights(slim.graph, slim.weights, seed))
        )

    def save(self, network: Network, folder: Path, name: str) -> None:
        arrays = {
            f"{layer}|{i}": a for layer, arrays in network.weights.items() for i, a in enumerate(arrays)
        }
        np.savez(folder / f"{name}.npz", **arrays)
        plan = {n.name: {key: n.config[key] for key in SIZES if key in n.config} for n in network.graph.nodes}
        kinds = [[n.name, n.kind] for n in network.graph.nodes]
        (folder / f"{name}.json").write_text(json.dumps({"nodes": kinds, "channel_plan": plan}))

    def restore(self, model: ModelFile, folder: Path, name: str) -> Network:
        plan = json.loads((folder / f"{name}.json").read_text())
        network = self.load(model)
        if [[n.name, n.kind] for n in network.graph.nodes] != plan["nodes"]:
            network = folded(network)  # it was folded when it was saved
        nodes = tuple(
            replace(n, config=n.config | plan["channel_plan"].get(n.name, {})) for n in network.graph.nodes
        )
        with np.load(folder / f"{name}.npz") as kept:
            weights = {layer: [] for layer in network.weights}
            for key in kept.files:  # in the order in which they were saved
                weights[key.rpartition("|")[0]].append(kept[key])
        return Network(replace(network.graph, nodes=nodes), weights)
