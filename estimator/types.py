"""Plain data that the estimator takes and gives: `Profile` (what is in a file), `Estimate` (what it will
cost) and `Calibration` (what the user's own measurements correct).

All are frozen pydantic models, so they go to JSON and back without loss. Sizes are bytes, times are
milliseconds, memory is MB of 10**6 bytes, energy is millijoules; a figure that is not known is None, never 0.
"""

from math import exp, log, sqrt
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LayerKind = Literal[
    "conv",
    "depthwise",
    "grouped",
    "dense",
    "attention",
    "pool",
    "elementwise",
    "norm",
    "activation",
    "shape",
    "quantize",
    "other",
]
Precision = Literal["float32", "float16", "int8", "int4"]


class Frozen(BaseModel):
    """Base of every plain-data class: unknown fields are refused, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Layer(Frozen):
    """One operator of a graph, with a batch of one.

    Attributes:
        name: The operator's name in the file, unique within a profile.
        op: The operator type as the file says it (`Conv`, `CONV_2D`).
        kind: The family that the cost model tells apart.
        kernel: Height and width of the window, for conv, depthwise, grouped and pool; else empty.
        stride: Height and width of the step, likewise.
        groups: Groups of a convolution, else 1.
        input_shape, output_shape: Of the first data input and first output, with a batch of 1, in the file's
        layout.
        macs: Multiply-accumulates for one input.
        parameters: Learned numbers (weights and biases).
        weight_bytes: What those numbers take in the file.
        input_elements, output_elements: Activation elements read and written for one input.
        precision: What the weights are stored in (for layers without weights, what the activations are).
        activation_precision: What the arithmetic's activations are stored in.
    """

    name: str
    op: str
    kind: LayerKind
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 1
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    macs: int = 0
    parameters: int = 0
    weight_bytes: int = 0
    input_elements: int = 0
    output_elements: int = 0
    precision: Precision = "float32"
    activation_precision: Precision = "float32"


class Profile(Frozen):
    """What one artifact holds and does for one input, read from the file itself.

    Attributes:
        format: `onnx` or `tflite`; `manual` for a what-if made by hand.
        precision: What the heaviest layers compute in on a device that supports it.
        layers: In execution order.
        parameters, nonzero_parameters, macs, weight_bytes: Sums over the graph.
        input_elements, output_elements: Sums of the activations that its layers read and write.
        peak_activation_bytes: Largest sum of simultaneously live activations in execution order, in the
            precision that the file states for each.
        size_bytes: Of the file.
    """

    format: Literal["onnx", "tflite", "manual"]
    precision: Precision
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    parameters: int
    nonzero_parameters: int | None = None
    macs: int
    weight_bytes: int
    input_elements: int
    output_elements: int
    peak_activation_bytes: int
    size_bytes: int

    @property
    def int4_weights(self) -> bool:
        """Whether any layer's weights are stored in INT4."""
        return any(layer.precision == "int4" for layer in self.layers)

    @property
    def mixed_precision(self) -> bool:
        """Whether the layers that multiply store their weights in more than one precision."""
        return len({layer.precision for layer in self.layers if layer.macs}) > 1


Bound = Literal["compute", "memory", "overhead", "nothing"]


class LayerCost(Frozen):
    """One layer's part of a predicted latency.

    Attributes:
        name, op: The layer's in the profile; `inference` and empty for what an inference costs by itself.
        ms, low_ms, high_ms: Its part, and of the interval's ends.
        bytes_moved: Activations read and written, and weights, as the file stores them.
        bound: Which kind of term most of its time is from; `nothing` where it is fused into a neighbour.
    """

    name: str
    op: str
    ms: float
    low_ms: float
    high_ms: float
    bytes_moved: int
    bound: Bound


class Estimate(Frozen):
    """A prediction for one artifact on one device. Latency is for one image, memory is the process's peak.

    Attributes:
        latency_ms, low_ms, high_ms: Middle value and the interval's ends; None where the device can't run it.
        coverage: Share of true values that the interval is meant to hold, 0.9.
        memory_mb, memory_low_mb, memory_high_mb: Peak resident memory and its interval.
        energy_mj: For one image, None where no power figure is known.
        throughput_per_s: Images per second, one after the other.
        confidence: 0..1; higher means that smaller errors were seen on networks held out like this one.
        why: One sentence: what the prediction rests on and what weakens it.
        calibrated_with: How many of the user's own measurements corrected it.
        layers: What each layer adds to `latency_ms`, where it was asked for; their sum is the prediction.
    """

    device: str
    runtime: str
    precision: Precision
    threads: int
    latency_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    coverage: float = 0.9
    memory_mb: float | None = None
    memory_low_mb: float | None = None
    memory_high_mb: float | None = None
    energy_mj: float | None = None
    throughput_per_s: float | None = None
    confidence: float | None = Field(default=None, ge=0, le=1)
    why: str = ""
    calibrated_with: int = 0
    layers: tuple[LayerCost, ...] = ()


class Correction(Frozen):
    """For one runtime, precision and thread count, what measurements say of predictions.

    Attributes:
        ratio: What a prediction of `centre_ms` is multiplied by; `half_width` is its log half-width.
        slope: What the log of the ratio grows by for each log of a prediction over `centre_ms`, and its
            half-width. Above -1, so that a network predicted to be slower stays slower.
        left: What the prediction's own half-width is multiplied by; above 1 where measurements scatter more.
        measurements: How many networks it rests on.
    """

    runtime: str
    precision: Precision
    threads: int
    ratio: float = Field(gt=0)
    half_width: float = Field(ge=0)
    left: float = Field(ge=0)
    measurements: int = Field(ge=1)
    centre_ms: float = Field(default=1.0, gt=0)
    slope: float = Field(default=0.0, gt=-1)
    slope_half_width: float = Field(default=0.0, ge=0)

    def apply(self, latency_ms: float, half: float) -> tuple[float, float]:
        """Returns a prediction in ms and its log half-width as the measurements correct them."""
        away = log(latency_ms / self.centre_ms)
        corrected = sqrt(self.half_width**2 + (self.slope_half_width * away) ** 2 + (self.left * half) ** 2)
        return latency_ms * self.ratio * exp(self.slope * away), corrected


class Calibration(Frozen):
    """All corrections of one device. Kept by whoever calls; `estimate` takes it."""

    schema_version: Literal[1] = 1
    device: str
    corrections: tuple[Correction, ...] = ()

    def correction(self, runtime: str, precision: str, threads: int) -> Correction | None:
        """The correction for exactly this use, else None: a ratio of one precision says little of another."""
        return next(
            (
                c
                for c in self.corrections
                if (c.runtime, c.precision, c.threads) == (runtime, precision, threads)
            ),
            None,
        )
