"""Making a data set ready, in a child: it may take a download or a framework, and reads pictures."""

from contextlib import suppress
from pathlib import Path

from engine import datasets
from engine.datasets import DATASETS
from engine.errors import BadInput
from engine.run.requests import PrepareData
from engine.wall import sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Watch

# the one task that may use the network: presets are downloaded
LIMITS = Limits(memory_bytes=2_000_000_000, seconds=1800, network=True)


def prepare(
    dataset: str,
    home: Path,
    input_shape: tuple[int, int, int] | None = None,
    watch: Watch | None = None,
    log: Path | None = None,
) -> None:
    """Makes a data set ready on disk, for models that take images of `input_shape`; at once when it is.

    Raises BadInput for a data set that can't be used, Failed when the child broke down.
    """
    shape = fitted(dataset, input_shape)
    with suppress(BadInput):  # not prepared, or nothing that could be: the child says what is wrong
        datasets.describe(dataset, home, shape)
        return
    request = PrepareData(dataset=dataset, home=home, image_shape=shape)
    sandbox.run("engine.run.tasks", request.sent(), LIMITS, watch, log)


def fitted(dataset: str | None, input_shape: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """Returns the size that images are brought to: the model's input; None where that is the preset's own."""
    preset = DATASETS.get(dataset or "")
    if preset is not None and input_shape in (None, tuple(preset.image_shape)):
        return None
    return input_shape
