"""Channels of Keras graphs: which belong together, which can go, and removing them.

Every output channel of a layer is an atom. Atoms travel through the graph: an addition makes two the same, a
concatenation puts them side by side, a flattening repeats them. What can't be followed with certainty is
locked, with the reason. Classes of atoms that are the same go or stay as one (Fang et al., "DepGraph", arXiv
2301.12900).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from keras import tree

from engine.backends.keras.graph import DROPPED, INPUT, Graph, Network, Node, Ref
from engine.backends.widths import kept

PASSING = {
    *DROPPED,
    "BatchNormalization",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "MaxPooling2D",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "ZeroPadding2D",
    "Cropping2D",
    "UpSampling2D",
    "Rescaling",
    "Relu",
    "Relu6",
    "HardSigmoid",
    "HardSwish",
    "HardSilu",
    "Silu",
    "Swish",
    "Sigmoid",
    "Tanh",
    "Gelu",
}
MIXING = ("softmax", "log_softmax", "glu", "sparsemax", "sparse_plus")
ELEMENTWISE = {"Add", "Multiply", "Subtract", "Maximum", "Minimum", "Average", "Divide", "TrueDivide"}


@dataclass
class Bundle:
    """Layers whose output channels are coupled, and the classes of atoms that may go: one array of class
    ids.
    """

    layers: list[str]
    classes: np.ndarray


class Channels:
    """The atoms of a graph: `of` gives them by node, one id an output channel; `locked` says why layers stay
    whole.
    """

    def __init__(self, network: Network, shapes: dict[str, list[tuple[int, ...]]]):
        self.network, self.shapes = network, shapes
        self.parent: list[int] = []
        self.of: dict[str, list[np.ndarray]] = {INPUT: [self._fresh(shapes[INPUT][0][-1])]}
        self.reasons: dict[int, str] = {}
        self._lock(self.of[INPUT][0], "they are the image's")
        uses: dict[str, int] = {}
        for node in network.graph.nodes:
            uses[node.layer] = uses.get(node.layer, 0) + (1 if network.weights.get(node.layer) else 0)
        self.shared = {layer for layer, count in uses.items() if count > 1}
        for node in network.graph.nodes:
            self.of[node.name] = self._outputs(node, [self.of[ref.node][ref.index] for ref in node.inputs])
        for ref in (network.graph.output, network.graph.logits):
            self._lock(self.of[ref.node][ref.index], "they are the network's answer")

    # ---- union-find ----------------------------------------------------------------------------------------

    def _fresh(self, count: int) -> np.ndarray:
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, atom: int) -> int:
        """Returns the class that an atom belongs to."""
        while self.parent[atom] != atom:
            self.parent[atom] = self.parent[self.parent[atom]]
            atom = self.parent[atom]
        return atom

    def roots(self, atoms: np.ndarray) -> np.ndarray:
        """Returns the classes of several atoms."""
        return np.array([self.root(int(a)) for a in atoms], np.int64)

    def _join(self, first: np.ndarray, second: np.ndarray) -> None:
        for a, b in zip(first, second, strict=True):
            a, b = self.root(int(a)), self.root(int(b))
            if a != b:
                self.parent[b] = a
                if b in self.reasons:
                    self.reasons.setdefault(a, self.reasons[b])

    def _lock(self, atoms: np.ndarray, why: str) -> np.ndarray:
        for root in self.roots(atoms):
            self.reasons.setdefault(int(root), why)
        return atoms

    # ---- how atoms travel ----------------------------------------------------------------------------------

    def _outputs(self, node: Node, inputs: list[np.ndarray]) -> list[np.ndarray]:
        shapes = self.shapes[node.name]
        if node.layer in self.shared:
            return self._opaque(node, inputs, f"{node.layer} is used in several places")
        if node.kind in ("Conv2D", "Dense"):
            if node.config.get("groups", 1) > 1:
                return self._opaque(node, inputs, f"{node.name} is a grouped convolution")
            return [self._fresh(shapes[0][-1])]
        if node.kind == "DepthwiseConv2D":
            return [np.repeat(inputs[0], shapes[0][-1] // len(inputs[0]))]
        if (
            node.kind == "Rescaling"
            and max(np.size(node.operation.scale), np.size(node.operation.offset)) > 1
        ):
            return self._opaque(node, inputs, f"{node.name} has a number of its own for each channel")
        if node.kind in PASSING or (
            node.kind == "Activation" and node.config.get("activation") not in MIXING
        ):
            return [inputs[0]]
        followed = self._combined(node, inputs, shapes[0])
        return (
            [followed]
            if followed is not None
            else self._opaque(node, inputs, f"{node.name} ({node.kind}) can't be followed")
        )

    def _combined(self, node: Node, inputs: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray | None:
        if any(
            np.size(x) > 1 for x in tree.flatten((node.args, node.kwargs)) if not isinstance(x, (Ref, str))
        ):
            return None  # an array of its own, one number a channel
        if node.kind in ELEMENTWISE:
            return self._elementwise(inputs)
        if node.kind == "Concatenate" and _last_axis(node, len(shape)):
            return np.concatenate(inputs)
        before = self.shapes[node.inputs[0].node][node.inputs[0].index]
        if node.kind in ("Flatten", "Reshape") and len(inputs) == 1:
            if shape[-1] == before[-1]:
                return inputs[0]  # only the places are arranged anew
            if len(shape) == 2 and shape[-1] == np.prod(before[1:]):
                return np.tile(inputs[0], shape[-1] // before[-1])
        if node.kind == "Mean" and shape[-1] == before[-1]:
            return inputs[0]
        return None

    def _elementwise(self, inputs: list[np.ndarray]) -> np.ndarray | None:
        wide = max(inputs, key=len)
        for other in inputs:
            if len(other) == len(wide):
                self._join(wide, other)
            elif len(other) != 1:
                return None
        return wide

    def _opaque(self, node: Node, inputs: list[np.ndarray], why: str) -> list[np.ndarray]:
        for atoms in inputs:
            self._lock(atoms, why)
        return [
            self._lock(self._fresh(shape[-1] if len(shape) else 1), why) for shape in self.shapes[node.name]
        ]

    # ---- what may go ---------------------------------------------------------------------------------------

    def bundles(self) -> list[Bundle]:
        """Returns the coupled layers and what may go of each, in the order of the graph."""
        owner: dict[int, int] = {}
        found: list[Bundle | None] = []
        for node in self.network.graph.nodes:
            if node.kind not in ("Conv2D", "Dense") or node.layer in self.shared:
                continue
            roots = np.unique(self.roots(self.of[node.name][0]))
            free = np.array([r for r in roots if int(r) not in self.reasons], np.int64)
            if not len(free):
                continue
            touched = sorted({owner[int(r)] for r in free if int(r) in owner})
            merged = Bundle([node.layer], free)
            for place in touched:
                merged = Bundle(
                    found[place].layers + merged.layers, np.union1d(found[place].classes, merged.classes)
                )
                found[place] = None
            found.append(merged)
            owner |= {int(r): len(found) - 1 for r in merged.classes}
        return [bundle for bundle in found if bundle is not None]

    def locked(self) -> dict[str, str]:
        """Returns why layers other than the last keep all their channels, by layer."""
        answer = set(self.roots(self.of[self.network.graph.logits.node][0]).tolist())
        found = {}
        for node in self.network.graph.nodes:
            if node.kind in ("Conv2D", "Dense") and not node.affine:
                roots = [int(r) for r in self.roots(self.of[node.name][0])]
                if any(r in self.reasons for r in roots) and not set(roots) & answer:
                    found[node.layer] = next(self.reasons[r] for r in roots if r in self.reasons)
        return found


def _last_axis(node: Node, rank: int) -> bool:
    axis = node.config.get("axis", node.kwargs.get("axis", getattr(node.operation, "axis", -1)))
    return axis in (-1, rank - 1)


def remove(
    network: Network,
    channels: Channels,
    ratios: dict[str, float],
    score: Callable[[Node], tuple[np.ndarray, np.ndarray | None]],
    multiple: int,
) -> Network:
    """Returns the network without the least important channels.

    score(node): importance of a layer's output channels [out] and of its input channels [in] (None where
    there are none). multiple: as in `widths.unit`.
    """
    values = _class_scores(network, channels, score)
    widest = max((len(bundle.classes) for bundle in channels.bundles()), default=0)
    gone: set[int] = set()
    for bundle in channels.bundles():
        wanted = [ratios[layer] for layer in bundle.layers if layer in ratios]
        if not wanted:
            continue
        count = kept(len(bundle.classes), float(np.mean(wanted)), multiple, widest)
        order = np.argsort([values.get(int(c), 0.0) for c in bundle.classes], kind="stable")
        gone.update(int(c) for c in bundle.classes[order[: len(bundle.classes) - count]])
    return without(network, channels, gone) if gone else network


def _class_scores(network: Network, channels: Channels, score: Callable) -> dict[int, float]:
    """Averages, by class, the importance that every member gives it, each member's scaled to a mean of 1."""
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for node in network.graph.nodes:
        if not network.weights.get(node.layer) or node.kind not in (
            "Conv2D",
            "Dense",
            "DepthwiseConv2D",
            "BatchNormalization",
        ):
            continue
        outward, inward = score(node)
        for atoms, given in (
            (channels.of[node.name][0], outward),
            (channels.of[node.inputs[0].node][node.inputs[0].index], inward),
        ):
            if given is None or len(given) != len(atoms):
                continue
            given = given / max(float(np.mean(given)), 1e-12)
            for root, value in zip(channels.roots(atoms), given, strict=True):
                sums[int(root)] = sums.get(int(root), 0.0) + float(value)
                counts[int(root)] = counts.get(int(root), 0) + 1
    return {root: total / counts[root] for root, total in sums.items()}


def without(network: Network, channels: Channels, gone: set[int]) -> Network:
    """Returns the network with these classes of channels cut out of every weight."""

    def left(ref: Ref) -> np.ndarray:
        return np.array([int(r) not in gone for r in channels.roots(channels.of[ref.node][ref.index])])

    nodes, weights = [], dict(network.weights)
    for node in network.graph.nodes:
        out = left(Ref(node.name))
        if not out.all():
            node = _narrowed(node, int(out.sum()))
        arrays = network.weights.get(node.layer)
        if arrays:
            weights[node.layer] = _cut(node, arrays, left(node.inputs[0]), out)
        nodes.append(node)
    return Network(replace(network.graph, nodes=tuple(nodes)), weights)


def _narrowed(node: Node, channels: int) -> Node:
    key = {"Conv2D": "filters", "Dense": "units"}.get(node.kind)
    if key:
        return replace(node, config=node.config | {key: channels})
    if node.kind == "Reshape":
        shape = list(node.config.get("target_shape", ()))
        return replace(
            node,
            config=node.config | {"target_shape": (*shape[:-1], -1 if -1 not in shape[:-1] else channels)},
        )
    return node


def _cut(node: Node, arrays: list[np.ndarray], into: np.ndarray, out: np.ndarray) -> list[np.ndarray]:
    if into.all() and out.all():
        return arrays
    if node.kind == "BatchNormalization":
        return [a[out] for a in arrays]
    kernel, bias = arrays[0], [a[out] for a in arrays[1:]]
    if node.kind == "Dense":
        return [kernel[into][:, out], *bias]
    if node.kind == "DepthwiseConv2D":
        return [kernel[:, :, into, :], *bias]
    if node.kind == "Conv2D":
        return [kernel[:, :, into, :][..., out], *bias]
    return arrays


def magnitude(network: Network) -> Callable[[Node], tuple[np.ndarray, np.ndarray | None]]:
    """Importance by L2 norm of the weights that make and that read a channel."""
    return lambda node: norms(node, network.weights[node.layer])


def norms(node: Node, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns L2 norms of a layer's weights by output channel and, where it mixes channels, by input
    channel.
    """
    if node.kind == "BatchNormalization":
        return (np.abs(arrays[0]) if node.config.get("scale", True) else np.ones(len(arrays[0]))), None
    kernel = arrays[0].astype(np.float64) ** 2
    if node.kind == "DepthwiseConv2D":
        return np.sqrt(kernel.sum((0, 1)).ravel()), None
    rest = tuple(range(kernel.ndim - 2))
    return np.sqrt(kernel.sum((*rest, kernel.ndim - 2))), np.sqrt(kernel.sum((*rest, kernel.ndim - 1)))


def fresh_weights(
    graph: Graph, weights: dict[str, list[np.ndarray]], seed: int
) -> dict[str, list[np.ndarray]]:
    """Returns new random weights of the same shapes: He et al. (arXiv 1502.01852) for kernels, neutral
    normalisation.
    """
    random = np.random.default_rng(seed)
    fresh = dict(weights)
    for node in graph.nodes:
        arrays = weights.get(node.layer)
        if not arrays:
            continue
        if node.kind == "BatchNormalization":
            learned = [1.0] * bool(node.config.get("scale", True)) + [0.0] * bool(
                node.config.get("center", True)
            )
            fresh[node.layer] = [
                np.full_like(a, v) for a, v in zip(arrays, [*learned, 0.0, 1.0], strict=True)
            ]
        elif node.weighted or node.affine:
            kernel = arrays[0]
            inputs = (
                np.prod(kernel.shape[:2]) if node.kind == "DepthwiseConv2D" else np.prod(kernel.shape[:-1])
            )
            made = random.normal(0.0, np.sqrt(2.0 / inputs), kernel.shape).astype(np.float32)
            fresh[node.layer] = [made, *(np.zeros_like(a) for a in arrays[1:])]
    return fresh


def why_unprunable(channels: Channels) -> str:
    """Returns why no channel of the network can go, or ""."""
    if channels.bundles():
        return ""
    reasons = "; ".join(sorted(set(channels.locked().values()))[:3])
    return (
        f"no layer's channels can go: {reasons}"
        if reasons
        else "it has no inner layer whose channels could go"
    )
