"""The primitives that techniques are written in, as two protocols.

A framework trains, prunes and folds networks and exports them as float graphs; a format quantizes such a
graph, stores it as a file and reads it back. A framework that can export to a format has all techniques of
that format.

A `Network` is a trained model held by its framework, a `Graph` a float network in a format, with the place of
each layer's weights; techniques pass them along and never look inside. Weights travel as float32 NumPy arrays
with the output channel first: [out, in, kh, kw] for convolutions ([channels, 1, kh, kw] depthwise), [out, in]
for dense layers, whatever order the framework itself keeps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from engine.backends.grid import Grid
from engine.datasets import Part
from engine.vocabulary import ModelFile, Preprocessing

Network = Any
Graph = Any


@dataclass(frozen=True)
class LayerInfo:
    """A layer with weights that techniques may change."""

    name: str
    kind: Literal["conv", "depthwise", "grouped", "dense"]
    shape: tuple[int, ...]
    macs: int
    is_output: bool = False

    @property
    def weights(self) -> int:
        """How many weights the layer has, its bias left out."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Facts:
    """What is known of a network before any time is spent: techniques decide by it whether they apply.

    `step_s` and `image_s` are what an optimizer step costs here whatever its batch, and what each image adds
    to it. `unprunable` and `untraceable` hold the reason where channels can't be removed or layers can't be
    followed, `locked` the reason by layer where only some layers keep all their channels.
    """

    framework: str
    layers: tuple[LayerInfo, ...]
    parameters: int
    macs: int
    quantized: bool = False
    unprunable: str = ""
    untraceable: str = ""
    locked: dict[str, str] = field(default_factory=dict)
    step_s: float = 0.0
    image_s: float = 0.0
    evaluate_images_per_s: float = 0.0


@dataclass(frozen=True)
class QuantSpec:
    """How to quantize on export.

    Attributes:
        kind: `static_int8` (weights and activations), `dynamic_int8` (weights, activations at run time),
            `fp16`,
            `weights` (weights only, as the grids say; activations stay float in the file).
        grids: By layer name. With `static_int8` they fix the weights' scales; layers without one get the
            range of
            their weights. With `weights`, layers without one stay float.
        activations: By layer name, the fixed (low, high) range of its input; the others are calibrated.
        floats: Layers that stay in float, weights and activations, with `static_int8`.
        calibrate: Range rule for activations: `minmax`, `percentile` or `entropy`.
        reduced_range: 7-bit weights, for processors whose 8-bit multiply-add saturates at 16 bits.
    """

    kind: Literal["static_int8", "dynamic_int8", "fp16", "weights"]
    grids: dict[str, Grid] = field(default_factory=dict)
    activations: dict[str, tuple[float, float]] = field(default_factory=dict)
    floats: frozenset[str] = frozenset()
    calibrate: Literal["minmax", "percentile", "entropy"] = "minmax"
    reduced_range: bool = False


@dataclass(frozen=True)
class Training:
    """One fine-tuning: AdamW with a cosine schedule, the best checkpoint on the validation part is kept.

    Attributes:
        steps, batch: Optimizer steps and images in each.
        learning_rate: At the start.
        teacher: Returns the logits [n, classes] of a network whose softened answers are imitated, by the
            images' places in the training part (`training.Teacher`); with `temperature` and `mix` (the
            teacher's share of the loss; Hinton et al., arXiv 1503.02531).
        masks: By layer name, boolean, True where a weight may differ from zero; held after every step.
        fake_bits: Weight bits simulated while training (Jacob et al., arXiv 1712.05877); None trains in
            float.
        fake_activations: Whether 8-bit activations are simulated too.
        reduced_range: As in QuantSpec, for 8-bit weights.
        on_step: Called before each step with its number; may return new masks, made from the weights it is
            handed.
        settle: Checkpoints count from this step on (a schedule that still prunes has not arrived before).
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int
    teacher: Callable[[np.ndarray], np.ndarray] | None = None
    temperature: float = 4.0
    mix: float = 0.0
    masks: dict[str, np.ndarray] | None = None
    fake_bits: Literal[4, 8] | None = None
    fake_activations: bool = False
    reduced_range: bool = False
    on_step: Callable[[int, dict[str, np.ndarray]], dict[str, np.ndarray] | None] | None = None
    settle: int = 0
    evaluations: int = 4


@dataclass(frozen=True)
class Trained:
    """What a fine-tuning gave: the network, the accuracy on the validation part before and after, executed
    steps.

    `grids` holds the learned grids when `fake_bits` was set, `activations` the learned (low, high) range of
    each layer's input when `fake_activations` was.
    """

    network: Network
    before: float
    after: float
    steps: int
    grids: dict[str, Grid] = field(default_factory=dict)
    activations: dict[str, tuple[float, float]] = field(default_factory=dict)


class Framework(Protocol):
    """What a framework does with its networks. Every method leaves the network that it is given unchanged."""

    preprocessing: Preprocessing

    def load(self, model: ModelFile) -> Network:
        """Opens a checked model file. Raises BadInput when its weights don't fit its architecture."""

    def facts(self, network: Network) -> Facts:
        """Looks a network over: its layers with weights, what it costs, what can't be done and why."""

    def weights(self, network: Network) -> dict[str, np.ndarray]:
        """Returns copies of the weights of `facts().layers`, by layer name."""

    def with_weights(
        self, network: Network, weights: dict[str, np.ndarray], biases: dict[str, np.ndarray] | None = None
    ) -> Network:
        """Returns a copy with these weights (and biases) in place of its own; shapes must be equal."""

    def biases(self, network: Network) -> dict[str, np.ndarray]:
        """Returns copies of the biases [out] of the same layers, zeros where a layer has none."""

    def cost(self, network: Network) -> tuple[int, int]:
        """Returns MACs for one input and parameters."""

    def folded(self, network: Network) -> Network:
        """Returns a copy with BatchNorm folded into the layers before it, as it will be deployed."""

    def logits(self, network: Network, images: np.ndarray) -> np.ndarray:
        """Runs uint8 images [n, h, w, c] through preprocessing and network; returns float32 [n, classes]."""

    def input_grams(
        self, network: Network, images: np.ndarray, layers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Returns, by layer, the mean of x xᵀ over all inputs x that its weights meet: float64 [d, d] with
        d = in · kh · kw, in the order of `weights()[layer].reshape(out, -1)`. Depthwise and grouped: not
        given.
        """

    def input_means(self, network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns, by layer, the mean over all inputs that its weights meet, float64 [d] in the order of
        `input_grams`; the basis of bias correction. Depthwise and grouped: not given.
        """

    def input_rows(self, network: Network, images: np.ndarray, layer: str) -> Iterator[np.ndarray]:
        """Yields, some images at a time, all inputs that a layer's weights meet, float32 [n, d] in the order
        of `input_grams`; as many for each network of the same structure. Not for depthwise and grouped ones.
        """

    def train(
        self,
        network: Network,
        train: Part,
        validation: Part,
        training: Training,
        progress: Callable[[float], None],
    ) -> Trained:
        """Fine-tunes a copy. Deterministic for equal arguments on one machine."""

    def step_seconds(self, network: Network, train: Part, batch: int, seconds: float) -> float:
        """Returns what an optimizer step takes with this batch, measured for about `seconds` on a copy."""

    def remove_channels(
        self,
        network: Network,
        ratios: dict[str, float],
        importance: Literal["l2", "taylor"],
        part: Part | None,
        seed: int,
        multiple: int = 4,
    ) -> Network:
        """Returns a copy with that share of each layer's output channels really removed, coupled layers with
        them; what stays is a multiple of `multiple` in wide layers (`widths.unit`). Taylor importance needs a
        labelled part. Raises EdgewiseError where the network can't be followed.
        """

    def slim(self, network: Network, width: float, seed: int, multiple: int = 4) -> Network:
        """Returns a network of the same family, its layers `width` times as wide, with fresh weights."""

    def save(self, network: Network, folder: Path, name: str) -> None:
        """Keeps a network: safetensors or npz plus a JSON channel plan, never a pickled object."""

    def restore(self, model: ModelFile, folder: Path, name: str) -> Network:
        """Opens what `save` kept, onto the architecture of `model`."""


class Format(Protocol):
    """A deployable format: how a float graph becomes a file, and what is in one.

    `saturates` tells whether its runtime's 8-bit kernels add products in 16 bits on processors without
    dot-product instructions, so that full-range 8-bit weights overflow there.
    """

    suffix: str
    saturates: bool

    def store(self, graph: Graph, target: Path) -> None:
        """Writes a float graph, weights that are mostly zero sparsely where the format can."""

    def quantize(
        self, graph: Graph, spec: QuantSpec, inputs: np.ndarray | None, target: Path, threads: int
    ) -> None:
        """Writes a graph as `spec` says. inputs: preprocessed calibration images [n, …], for `static_int8`.

        The graph is used up. Raises EdgewiseError where the graph can't be written so.
        """

    def stored_tensors(self, artifact: Path) -> list[tuple[bytes, str]]:
        """Returns the stored bytes of an artifact's weights, each with `float32`, `int8` or `int4`."""

    def remarks(self, artifact: Path) -> list[str]:
        """Returns what the user should know about a written file, as sentences read from the file itself."""

    def companions(self, artifact: Path) -> list[Path]:
        """Writes beside an artifact what other uses want of it (full INT8 TFLite with float input and
        output).
        """
