"""What a run asks of its children and what they answer, a frozen model each; both cross the wall as JSON."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from engine.backends import Facts
from engine.vocabulary import Artifact, Constraints, Experiment, Host, LayerSensitivity, ModelFile
from engine.wall.limits import Limits
from estimator.types import Calibration

WORK_THREADS = Limits.threads  # what idle processes import for, too
# one thread is timed: what a device's single core does, and the steadiest figure on a shared machine
TIMED_THREADS = 1


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(_Word):
    """One request; `task` names the function of `engine.run.tasks` that answers it."""

    task: str

    def sent(self) -> dict[str, Any]:
        """Returns the request as plain data."""
        return self.model_dump(mode="json")


class PrepareData(Request):
    """Make a data set ready on disk, its images brought to `image_shape` (None: its own). Answer: {}.

    fit, upright: as in `engine.device.image.decode`.
    """

    task: Literal["prepare_data"] = "prepare_data"
    dataset: str
    home: Path
    image_shape: tuple[int, int, int] | None = None
    fit: str = "stretch"
    upright: bool = True


class ProfileFile(Request):
    """Say what a model file holds; with a `model`, it is exported into `folder` first, for this
    runtime. Answer: a Profile.
    """

    task: Literal["profile"] = "profile"
    folder: Path
    path: Path
    model: ModelFile | None = None
    runtime: str | None = None


class OfRun(Request):
    """What every request of a run carries: its folder, the workspace, the data set, the model and the runtime
    that its files are for (None: the framework's usual one).
    """

    folder: Path
    home: Path
    dataset: str | None
    model: ModelFile
    runtime: str | None = None
    threads: int = WORK_THREADS


def of_run(experiment: Experiment, folder: Path, home: Path) -> dict[str, Any]:
    """Returns the fields that every request of a run carries."""
    e = experiment
    return {"folder": folder, "home": home, "dataset": e.dataset, "model": e.model, "runtime": e.runtime}


class FindFacts(OfRun):
    """Look the model over and time its training, if the run `trains` at all. Answer: Facts."""

    task: Literal["facts"] = "facts"
    trains: bool = True


class FindSensitivity(OfRun):
    """Find what is lost when one layer alone is changed; after so many seconds no layer is begun any more,
    a little leeway aside. Answer: {"rows"}.
    """

    task: Literal["sensitivity"] = "sensitivity"
    facts: Facts
    seed: int
    seconds: float


class MakeVariants(OfRun):
    """Run one technique (or `baseline`). Answer: {}; each variant is told as soon as it is finished.

    seconds: its share of the time budget; of the baseline, what it may take to answer all training images for
    the techniques that train after them. tolerance: the validation accuracy (a fraction) that a search may
    give up. dot_product: whether the device has dot-product instructions. channel_multiple: what its runtime
    takes channels in. device, calibration, constraints, cautious: what predictions are made for, corrected by
    and held against.
    """

    task: Literal["technique"] = "technique"
    technique: str
    facts: Facts
    sensitivity: tuple[LayerSensitivity, ...] = ()
    seed: int
    seconds: float
    tolerance: float
    dot_product: bool
    channel_multiple: int
    device: str
    calibration: Calibration | None = None
    constraints: Constraints = Constraints()
    cautious: bool = False


class MeasureAccuracy(OfRun):
    """Measure artifacts on the test part; `exact` ones with exact arithmetic. Answer: Figures by id."""

    task: Literal["accuracy"] = "accuracy"
    artifacts: dict[str, Artifact]
    exact: tuple[str, ...] = ()


class MeasureRobustness(MeasureAccuracy):
    """Measure artifacts on corrupted test images. Answer: Robustness as plain data by id."""

    task: Literal["robustness"] = "robustness"  # type: ignore[assignment]


class TryPicture(MeasureAccuracy):
    """Have artifacts classify one picture: `picture` is its file in base64. `int4`: the ids of those that
    store weights in INT4. Answer: see `engine.run.picture`.
    """

    task: Literal["picture"] = "picture"  # type: ignore[assignment]
    picture: str
    int4: tuple[str, ...] = ()


class TimeArtifacts(OfRun):
    """Time artifacts, `paths` within the run's folder, in turn. Answer: Host by id.

    int4: the ids of those that store weights in INT4. seconds, rounds: when it ends, at the first of the two.
    """

    task: Literal["timing"] = "timing"
    paths: dict[str, str]
    int4: tuple[str, ...] = ()
    seconds: float
    rounds: int
    threads: int = TIMED_THREADS


class TimeOperators(OfRun):
    """Time each operator of ONNX artifacts, `paths` within the run's folder. Answer: OperatorTimes by id.

    int4: the ids of those that store weights in INT4.
    """

    task: Literal["operators"] = "operators"
    paths: dict[str, str]
    int4: tuple[str, ...] = ()
    threads: int = TIMED_THREADS


class WeighArtifact(OfRun):
    """Load one artifact alone and run it. Answer: PeakMemory. path: within the run's folder. int4: whether it
    stores weights in INT4.
    """

    task: Literal["memory"] = "memory"
    path: str
    int4: bool = False
    threads: int = TIMED_THREADS


class Figures(_Word):
    """What was counted in an artifact's file and measured on the test part.

    accuracy: fields of a Variant by name, as `measure.classification` gives them; none without a data set.
    profile: the file's Profile as plain data.
    """

    parameters: int
    nonzero_parameters: int
    macs: int
    zero_share: float
    compressed_bytes: int
    accuracy: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    profile: dict[str, Any] | None = None


class PeakMemory(_Word):
    """A process's peak of resident bytes; None where the system does not tell."""

    peak_memory_bytes: int | None


FACTS = TypeAdapter(Facts)
ROWS = TypeAdapter(list[LayerSensitivity])
FIGURES = TypeAdapter(dict[str, Figures])
HOSTS = TypeAdapter(dict[str, Host])
