"""The vocabulary of a run: what goes in (`Experiment`), what comes out (`Variant`, `Recommendation`), as
plain data.

Everything here is a pydantic model that goes to JSON and back without loss, so that the pages, the command
line, the HTTP routes and the child processes speak of the same things. Accuracy is a fraction, `_pp` are
percentage points, `_ms` milliseconds, `_mb` 10**6 bytes.
"""

import copy
import hashlib
import math
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from engine.errors import BadInput
from estimator.capability import Capability
from estimator.types import Estimate

__all__ = [
    "SCHEMA_VERSION",
    "Goal",
    "Preprocessing",
    "ModelFile",
    "Constraints",
    "Weights",
    "Pace",
    "Experiment",
    "Step",
    "Artifact",
    "Latency",
    "Host",
    "Variant",
    "Answered",
    "Robustness",
    "Recommendation",
    "Flip",
    "Estimate",
    "LayerSensitivity",
    "Run",
    "variant_seed",
    "parse",
]

SCHEMA_VERSION = 1
M = TypeVar("M", bound=BaseModel)
Fraction = Annotated[float, Field(ge=0, le=1)]


class Plain(BaseModel):
    """Base of the vocabulary: unknown fields are refused, so that a misspelt limit is never silently
    ignored.
    """

    model_config = ConfigDict(extra="forbid")


class Goal(StrEnum):
    """What the ranking rewards among the variants that meet every limit."""

    balanced = "balanced"
    size = "size"
    speed = "speed"
    accuracy = "accuracy"


class Preprocessing(Plain):
    """How an image becomes the model's input: `(uint8 * scale - mean) / std`, float32, in the given
    layout; before that it is brought to the size in one of the FITS of `engine.device.image`, turned by its
    EXIF note where it shall be `upright`.
    """

    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    color: Literal["grey", "rgb", "bgr"]
    layout: Literal["NCHW", "NHWC"]
    scale: float = 1 / 255
    mean: list[float]
    std: list[float]
    fit: Literal["stretch", "crop", "crop_875", "pad"] = "stretch"
    upright: bool = True

    def as_fed(self, file: str | PurePath) -> "Preprocessing":
        """Returns how images go into a deployed file, given its name or ending: TFLite takes them channels
        last, whichever framework its network came from.
        """
        return self.model_copy(update={"layout": "NHWC"}) if PurePath(file).suffix == ".tflite" else self


class ModelFile(Plain):
    """A model that was recognised and checked: facts about it, never the model itself.

    Attributes:
        name: What the user calls it: a shipped id or the uploaded file's name.
        path: Where its bytes are.
        format: How they are written (`safetensors`, `state_dict`, `torch_module`, `onnx`, `keras` …).
        framework: Which backend opens it.
        architecture: For bare weights, the network that they belong to; None where the file holds the
            network.
        input_shape: Height, width, channels.
        outputs: `logits` or `probabilities`.
        reach: What can be done with it: `all` techniques, `post_training` ones only, or `inspect` (and
            estimate) only.
        evidence: What the trials on labelled images showed, as sentences.
        class_order: The classes in the order that the trials point to, where that is another one.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    format: str
    framework: str  # an id of engine.frameworks.FRAMEWORKS
    architecture: str | None = None
    input_shape: tuple[int, int, int]
    classes: list[str]
    layers: int
    parameters: int
    outputs: Literal["logits", "probabilities"] = "logits"
    preprocessing: Preprocessing
    reach: Literal["all", "post_training", "inspect"] = "all"
    evidence: list[str] = []
    warnings: list[str] = []
    class_order: list[str] = []


class Constraints(Plain):
    """The limits a variant must keep to be admissible; None is no limit. `min_accuracy` is that on test
    images, `min_recall` that of the worst class, `min_class_recall` that of the class `recall_class`,
    fractions all; `max_robust_drop_pp` is what may be lost on damaged pictures of middle severity.

    Attributes:
        recall_index: The place of `recall_class` among the model's classes (`engine.judge.limits.placed`).
    """

    max_accuracy_drop_pp: float | None = None
    max_size_mb: float | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    max_energy_mj: float | None = None
    min_accuracy: float | None = Field(default=None, le=1)
    min_recall: float | None = Field(default=None, le=1)
    min_class_recall: float | None = Field(default=None, le=1)
    max_robust_drop_pp: float | None = None
    recall_class: str | None = None
    recall_index: int | None = Field(default=None, ge=0)

    @field_validator("*")
    @classmethod
    def _is_a_limit(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, int | float) and (not math.isfinite(value) or value < 0):
            raise ValueError("must be a number of 0 or more")
        return value

    def set_limits(self) -> dict[str, float]:
        """Returns the limits that are set, by name."""
        return {
            name: value
            for name, value in self.model_dump(exclude={"recall_class", "recall_index"}).items()
            if value is not None
        }


class Weights(Plain):
    """What counts how much for the balanced goal: one percentage point of validation accuracy weighs as much
    as a factor of two in size and time together where all are 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: float = Field(default=1.0, ge=0, le=10)
    speed: float = Field(default=1.0, ge=0, le=10)
    accuracy: float = Field(default=1.0, ge=0, le=10)


EVEN = Weights()


class Pace(Plain):
    """How fast a run trained, and how many seconds of training its techniques had: asked for once more, they
    come to the same steps on any machine.

    Attributes:
        step_s, image_s, evaluate_images_per_s: As in `engine.backends.Facts`.
        training_s: By technique.
        sensitivity_s: Of the sensitivity of each layer.
    """

    step_s: float = Field(ge=0)
    image_s: float = Field(ge=0)
    evaluate_images_per_s: float = Field(ge=0)
    training_s: dict[str, float]
    sensitivity_s: float = Field(ge=0)


class Experiment(Plain):
    """All that defines a run. The pages, the command line and the HTTP routes build this and nothing else.

    It is plain data: `engine.ask` checks names, data and memory when a run is asked for, so that a run can
    still be read when a technique or a device of it is gone.

    Attributes:
        runtime: What its files are written for (an id of `engine.runtimes`); None: the framework's usual one.
        runtime_note: Why that is not the runtime that was asked for or the device's own, else "".
        pace: Of the run that this one repeats; None: its own, by what is measured here and the time budget.
    """

    schema_version: int = SCHEMA_VERSION
    model: ModelFile
    dataset: str | None = None
    device: str
    runtime: str | None = None
    runtime_note: str = ""
    goal: Goal = Goal.balanced
    weights: Weights = EVEN
    constraints: Constraints = Constraints()
    techniques: list[str]
    seed: int = Field(default=0, ge=0, lt=2**31)
    time_budget_s: int = Field(default=300, ge=10, le=86_400)
    cautious: bool = False
    pace: Pace | None = None


Tag = Annotated[str, Field(min_length=1, max_length=24, pattern="^[^,]*$")]


class Label(Plain):
    """What the user calls a run; both may be empty."""

    title: str = Field(default="", max_length=80)
    tags: list[Tag] = Field(default=[], max_length=8)


class Step(Plain):
    """One thing that was done to make a variant, with what it takes to do it again."""

    what: str
    parameters: dict[str, Any] = {}
    why: str


class Artifact(Plain):
    """One deployable file of a variant; `path` is relative to the run's folder.

    `decoded_path` names the file that a runtime opens when this one is stored encoded; an older Edgewise
    called it `runs_as`.
    """

    path: str
    format: str
    bytes: int
    sha256: str
    decoded_path: str | None = Field(None, validation_alias=AliasChoices("decoded_path", "runs_as"))

    @property
    def opened(self) -> str:
        """The file that a runtime opens, relative to the run's folder."""
        return self.decoded_path or self.path


class Latency(Plain):
    """Percentiles of single-image latency, in milliseconds."""

    p50: float
    p95: float
    p99: float


class Host(Plain):
    """What was measured on this machine, in the artifact's own runtime."""

    runtime: str
    runtime_version: str
    threads: int
    latency_ms: Latency | None = None
    throughput_per_s: float | None = None
    peak_memory_bytes: int | None = None
    interleaved: bool = False


class LayerSensitivity(Plain):
    """What is lost when only this layer is changed, on validation images."""

    layer: str
    change: Literal["int8", "int4", "prune"]
    accuracy_drop_pp: float
    loss_increase: float


class Answered(Plain):
    """What a classifier answers alone where a person is asked below a confidence: the share of the images,
    and how much of it is right (None where nothing is answered). The threshold is chosen on validation
    images; test images show what it does.
    """

    confidence: Fraction
    validation_share: Fraction
    validation_accuracy: Fraction | None
    test_share: Fraction
    test_accuracy: Fraction | None


Kept = Literal["sure", "measured"]


class Variant(Plain):
    """What one technique with one setting made: what it is, how it measured, how it was made.

    `capability` says what becomes of its file on the run's device; `per_class_recall` has an entry
    a class, None for one without test images. `usable` is False where its validation accuracy fell to
    chance and the uploaded model's is not there, or where it never names a class any more that the baseline
    names: it is never recommended. `calibration_error` is how far its confidence is from the share that is
    right, 0..1; `answered` what it answers alone from a confidence on, rising. `robust_drop_pp` is what it
    loses on damaged pictures, where that was measured (see `Robustness.drop_pp`); `measured_energy_mj` what
    an image costs the run's device by its own sensor, where the user measured it there.
    """

    id: str
    technique: str
    status: Literal["done", "failed", "skipped"]
    reason: str = ""
    usable: bool = True
    seconds: float = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    accuracy_drop_pp: float | None = None
    accuracy_drop_low_pp: float | None = None
    accuracy_drop_high_pp: float | None = None
    p_value: float | None = None
    worst_class_recall: float | None = None
    per_class_recall: list[float | None] = []
    confusion: list[list[int]] = []
    calibration_error: Fraction | None = None
    answered: list[Answered] = []
    test_images: int | None = None
    validation_accuracy: float | None = None
    size_bytes: int | None = None
    compressed_bytes: int | None = None
    sparse_bytes: int | None = None
    parameters: int | None = None
    nonzero_parameters: int | None = None
    macs: int | None = None
    sparsity: float | None = None
    robust_drop_pp: float | None = None
    measured_energy_mj: float | None = None
    host: Host | None = None
    estimates: dict[str, Estimate] = {}
    artifacts: list[Artifact] = []
    steps: list[Step] = []
    notes: list[str] = []
    versions: dict[str, str] = {}
    seed: int | None = None
    capability: Capability | None = None
    admissible: Literal["yes", "no", "unknown"] = "unknown"
    misses: dict[str, float] = {}
    kept: dict[str, Kept] = {}

    @property
    def shipped(self) -> Artifact:
        """The file that travels: the entropy-coded one where there is one, since it decodes to the very file
        that was measured.
        """
        return next((artifact for artifact in self.artifacts if artifact.decoded_path), self.artifacts[0])


class Robustness(Plain):
    """Accuracy (fractions) of one variant on the same test images: as they are, and by corruption at rising
    severities.
    """

    images: int = Field(gt=0)
    clean: Fraction
    corrupted: dict[str, Annotated[tuple[Fraction, ...], Field(min_length=1)]] = Field(min_length=1)

    def drop_pp(self) -> float:
        """Returns the accuracy lost on the mean of all corruptions at their middle severity, in percentage
        points.
        """
        middle = [row[len(row) // 2] for row in self.corrupted.values()]
        return 100 * (self.clean - sum(middle) / len(middle))

    def mean(self) -> float:
        """Returns the mean accuracy over all corruptions and severities."""
        values = [value for row in self.corrupted.values() for value in row]
        return sum(values) / len(values)


class Flip(Plain):
    """A change of one limit that would make another variant win."""

    constraint: str
    to: float
    winner: str
    text: str


class Recommendation(Plain):
    """A ranked, reasoned choice. `nearest` is set when nothing meets every limit."""

    winner: str | None
    ranking: list[str]
    reasons: list[str]
    binding: str | None = None
    flips: list[Flip] = []
    picks: dict[str, str | None] = {}
    nearest: str | None = None


class Run(Plain):
    """A run as it stood when it was read: what `optimize --json` prints."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    reason: str = ""
    experiment: Experiment
    created: float
    seconds: float = 0
    peak_memory_bytes: int = 0
    variants: list[Variant] = []
    sensitivity: list[LayerSensitivity] = []
    recommendation: Recommendation | None = None


def variant_seed(run_seed: int, variant: str) -> int:
    """Returns the seed of one variant: a hash of both, so that a resumed run equals an unbroken one."""
    return int.from_bytes(hashlib.sha256(f"{run_seed}:{variant}".encode()).digest()[:4], "big") % 2**31


def parse(kind: type[M], data: Any, stored: bool = False) -> M:
    """Validates `data` (a mapping) as `kind`; raises BadInput with one sentence naming the first thing wrong.

    Of what was `stored` by another version, the fields that this one does not know are dropped.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        unknown = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
        if stored and unknown:
            return parse(kind, _without(data, unknown))
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or kind.__name__
        raise BadInput(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None


def _without(data: Any, places: list[tuple[int | str, ...]]) -> Any:
    """Returns a copy of plain data without what is at these places."""
    kept = copy.deepcopy(data)
    for *way, last in places:
        inner = kept
        for part in way:
            inner = inner[part]
        inner.pop(last, None)
    return kept
