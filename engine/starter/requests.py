"""What a training asks of its two children and what the first answers; all of it crosses the wall as JSON."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from engine.vocabulary import Preprocessing


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(_Word):
    """What both carry: the data set, the workspace, and the folder that they leave files in."""

    task: str
    dataset: str
    home: Path
    folder: Path

    def sent(self) -> dict[str, Any]:
        """Returns the request as plain data."""
        return self.model_dump(mode="json")


class Train(Request):
    """Train in PyTorch from the weights of `origin`, a shipped model, in about `seconds`. Answer: Trained."""

    task: Literal["train"] = "train"
    origin: str
    seconds: float
    seed: int
    mirror: bool


class Trained(_Word):
    """A trained starter: its weights are in the folder. class_counts: training images by class."""

    architecture: str
    input_shape: tuple[int, int, int]
    classes: list[str]
    preprocessing: Preprocessing
    layers: int
    parameters: int
    epochs: float
    steps: int
    validation_accuracy: float
    validation_images: int
    class_counts: list[int]


class ToKeras(Request):
    """Take the weights over into the Keras twin. Answer: {"agreement"}, the share of equal answers."""

    task: Literal["to_keras"] = "to_keras"
    trained: Trained
