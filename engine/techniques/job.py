"""What a technique is given to do, and the data that it may see."""

from dataclasses import dataclass, field
from pathlib import Path

from engine.backends.protocol import Facts
from engine.datasets import Part
from engine.errors import EdgewiseError
from engine.vocabulary import Constraints, LayerSensitivity, ModelFile
from estimator.types import Calibration


@dataclass(frozen=True)
class Job:
    """One technique's job in a run.

    Attributes:
        technique: Its id.
        model, facts: The run's model, and what is known of its network.
        folder: The run's.
        seed: The run's; each variant derives its own.
        seconds: The technique's share of the time budget.
        tolerance: The validation accuracy (a fraction) that a search for the smallest variant may give up.
        dot_product: Whether the device has dot-product instructions.
        channel_multiple: What the device's runtime takes channels in (`widths.unit`).
        device, calibration: What the files are for, and what the user measured there.
        constraints, cautious: The run's limits, and whether they are held against the upper end of estimates.
        sensitivity: The run's rows, where the technique needs them.
    """

    technique: str
    model: ModelFile
    facts: Facts
    folder: Path
    seed: int
    seconds: float
    tolerance: float = 0.0
    dot_product: bool = False
    channel_multiple: int = 4
    device: str = ""
    calibration: Calibration | None = None
    constraints: Constraints = field(default_factory=Constraints)
    cautious: bool = False
    sensitivity: tuple[LayerSensitivity, ...] = ()


class NotApplicable(EdgewiseError):
    """A variant does not apply to this network; it is skipped with the message as the reason."""


@dataclass(frozen=True)
class Data:
    """The parts a technique may see; train and validation are None when the run has no data set."""

    train: Part | None
    validation: Part | None
    calibration: Part

    def labelled(self) -> tuple[Part, Part]:
        """Returns the train and validation parts; raises NotApplicable without a data set."""
        if self.train is None or self.validation is None:
            raise NotApplicable("it trains, and this run has no labelled images: choose a data set")
        return self.train, self.validation
