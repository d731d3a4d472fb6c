"""ONNX graphs that PyTorch can't follow: what needs no training is done on the graph itself.

A network is a `graph.Graph` in the plain form of formats/onnx/plain.py; ONNX Runtime runs it. A TorchScript
program that fits no known network comes the same way, exported first.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from engine.backends.images import images_at_once
from engine.backends.onnx.graph import Graph, attributes, folded
from engine.backends.protocol import Facts, LayerInfo, Trained, Training
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.errors import EdgewiseError
from engine.formats.onnx.open import open_plain
from engine.vocabulary import ModelFile, Preprocessing

INSIDE_SHARE = 1 / 16  # of the images that go through together, where values from inside are kept


class PlainONNX:
    """See `Framework`. `threads` is what ONNX Runtime may use. What trains or changes the structure raises
    EdgewiseError.
    """

    def __init__(self, preprocessing: Preprocessing, cache: Path, threads: int = 1):
        self.preprocessing, self.cache, self.threads = preprocessing, cache, threads
        self.why = "nothing but ONNX Runtime runs this network"

    # ---- opening and looking -------------------------------------------------------------------------------

    def load(self, model: ModelFile) -> Graph:
        told = (
            next(iter(model.warnings), "")
            .removeprefix("Only post-training techniques apply, because ")
            .rstrip(".")
        )
        self.why = f"nothing but ONNX Runtime runs this network: {told}" if told else self.why
        return Graph(open_plain(model))

    def facts(self, network: Graph) -> Facts:
        layers = self._layers(network)
        return Facts(
            framework="onnx",
            layers=layers,
            macs=sum(layer.macs for layer in layers),
            parameters=self.cost(network)[1],
            untraceable=self.why,
            unprunable=self.why,
        )

    def _layers(self, network: Graph) -> tuple[LayerInfo, ...]:
        nodes = network.layers()
        if not nodes:
            return ()
        p = self.preprocessing
        black = np.zeros((1, p.height, p.width, 1 if p.color == "grey" else 3), np.uint8)
        values = next(
            network.run(
                self._inputs(black), [network.output_of(node) for node in nodes.values()], self.threads
            )
        )
        found = []
        for (name, node), value in zip(nodes.items(), values, strict=True):
            shape = network.weight(node).shape
            found.append(
                LayerInfo(
                    name,
                    kind_of(node, shape),
                    shape,
                    int(np.prod(shape)) * (value.size // len(value) // shape[0]),
                    is_output=len(found) == len(nodes) - 1,
                )
            )
        return tuple(found)

    def cost(self, network: Graph) -> tuple[int, int]:
        stored = network.model.graph.initializer
        parameters = sum(
            int(np.prod(tensor.dims)) for tensor in stored if tensor.data_type in (1, 10, 11, 16)
        )
        return sum(layer.macs for layer in self._layers(network)), parameters

    def _inputs(self, images: np.ndarray, share: float = 1.0) -> Iterator[np.ndarray]:
        spec, batch = (
            self.preprocessing.model_dump(),
            images_at_once(self.preprocessing.height, self.preprocessing.width, share),
        )
        for start in range(0, len(images), batch):
            yield preprocess(images[start : start + batch], spec)

    # ---- weights -------------------------------------------------------------------------------------------

    def weights(self, network: Graph) -> dict[str, np.ndarray]:
        return {name: network.weight(node).copy() for name, node in network.layers().items()}

    def with_weights(
        self, network: Graph, weights: dict[str, np.ndarray], biases: dict[str, np.ndarray] | None = None
    ) -> Graph:
        changed = network.copy()
        nodes = changed.layers()
        for name, array in weights.items():
            changed.set_weight(nodes[name], array)
        for name, array in (biases or {}).items():
            changed.set_bias(nodes[name], array)
        return changed

    def biases(self, network: Graph) -> dict[str, np.ndarray]:
        return {name: network.bias(node) for name, node in network.layers().items()}

    def folded(self, network: Graph) -> Graph:
        return folded(network)

    # ---- running -------------------------------------------------------------------------------------------

    def logits(self, network: Graph, images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                scores.reshape(len(scores), -1)
                for (scores,) in network.run(self._inputs(images), ["logits"], self.threads)
            ]
        )

    def input_grams(self, network: Graph, images: np.ndarray, layers: Sequence[str]) -> dict[str, np.ndarray]:
        return self._input_means(network, images, layers, lambda rows: rows.T @ rows)

    def input_means(self, network: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
        return self._input_means(network, images, None, lambda rows: rows.sum(axis=0))

    def _input_means(
        self,
        network: Graph,
        images: np.ndarray,
        layers: Sequence[str] | None,
        total: Callable[[np.ndarray], np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Returns, by layer, the mean of what `total` sums over the rows of inputs that weights meet."""
        nodes = {
            name: node
            for name, node in network.layers().items()
            if (layers is None or name in layers)
            and kind_of(node, network.weight(node).shape) in ("conv", "dense")
            and _has_plain_padding(node)
        }
        names = list(dict.fromkeys(node.input[0] for node in nodes.values()))
        sums: dict[str, np.ndarray] = {}
        counts = dict.fromkeys(nodes, 0)
        for values in network.run(self._inputs(images, INSIDE_SHARE), names, self.threads) if nodes else ():
            found = dict(zip(names, values, strict=True))
            for name, node in nodes.items():
                for one in found[
                    node.input[0]
                ]:  # image by image: a convolution's patches are many times its input
                    rows = patches(one, node, network.weight(node).shape)
                    sum_ = total(rows).astype(np.float64)
                    sums[name] = sums[name] + sum_ if name in sums else sum_
                    counts[name] += len(rows)
        return {name: sum_ / counts[name] for name, sum_ in sums.items()}

    def input_rows(self, network: Graph, images: np.ndarray, layer: str) -> Iterator[np.ndarray]:
        node = network.layers()[layer]
        shape = network.weight(node).shape
        for (values,) in network.run(self._inputs(images, INSIDE_SHARE), [node.input[0]], self.threads):
            yield np.concatenate([patches(one, node, shape) for one in values])

    # ---- what this backend can't do ------------------------------------------------------------------------

    def train(
        self,
        network: Graph,
        train: Part,
        validation: Part,
        training: Training,
        progress: Callable[[float], None],
    ) -> Trained:
        self._refuse()

    def step_seconds(self, network: Graph, train: Part, batch: int, seconds: float) -> float:
        self._refuse()

    def remove_channels(
        self,
        network: Graph,
        ratios: dict[str, float],
        importance: str,
        part: Part | None,
        seed: int,
        multiple: int = 4,
    ) -> Graph:
        self._refuse()

    def slim(self, network: Graph, width: float, seed: int, multiple: int = 4) -> Graph:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise EdgewiseError(f"it can't be trained or cut, because {self.why}")

    # ---- keeping ------------------------------------------------------------

    def save(self, network: Graph, folder: Path, name: str) -> None:
        weights, biases = self.weights(network), self.biases(network)
        np.savez(
            folder / f"{name}.npz",
            **{f"{layer}.weight": a for layer, a in weights.items()},
            **{f"{layer}.bias": a for layer, a in biases.items()},
        )
        (folder / f"{name}.json").write_text(
            json.dumps({"channel_plan": {layer: list(a.shape) for layer, a in weights.items()}})
        )

    def restore(self, model: ModelFile, folder: Path, name: str) -> Graph:
        with np.load(folder / f"{name}.npz") as kept:
            parts = {
                kind: {key.removesuffix(kind): kept[key] for key in kept if key.endswith(kind)}
                for kind in (".weight", ".bias")
            }
        return self.with_weights(self.folded(self.load(model)), parts[".weight"], parts[".bias"])


def export(network: Graph, preprocessing: Preprocessing, cache: Path) -> Graph:
    """Returns the graph itself: it is in its format already, written by whoever wrote it."""
    return Graph(network.model, foreign=True)


def kind_of(node, shape: tuple[int, ...]) -> str:
    """Returns the kind of a layer with weights of this shape, as LayerInfo has it."""
    if node.op_type != "Conv":
        return "dense"
    if attributes(node).get("group", 1) == 1:
        return "conv"
    return "depthwise" if shape[1] == 1 else "grouped"


def _has_plain_padding(node) -> bool:
    return attributes(node).get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")


def patches(x: np.ndarray, node, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the rows that a layer's weights meet in one input (without its batch axis): float32 [positions,
    d].
    """
    if node.op_type != "Conv":
        return x.reshape(-1, x.shape[-1])
    given = attributes(node)
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    window = tuple((size - 1) * step + 1 for size, step in zip(shape[2:], dilations, strict=True))
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    views = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
    views = views[:, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return np.ascontiguousarray(views.transpose(1, 2, 0, 3, 4)).reshape(views.shape[1] * views.shape[2], -1)
