"""Making a data set ready, in a child: it may take a download or a framework, and reads pictures."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from engine import datasets
from engine.datasets import DATASETS
from engine.errors import BadInput
from engine.run.requests import PrepareData
from engine.vocabulary import Experiment, ModelFile
from engine.wall import sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Watch
from engine.watch import count as count_refused

# the one task that may use the network: presets are downloaded
LIMITS = Limits(memory_bytes=2_000_000_000, seconds=1800, network=True)


def prepare(
    dataset: str,
    home: Path,
    model: ModelFile | None = None,
    watch: Watch | None = None,
    log: Path | None = None,
) -> None:
    """Makes a data set ready on disk, as a model wants it (None: as it comes); at once when it is.

    Raises BadInput for a data set that can't be used, Failed when the child broke down.
    """
    how = wanted(dataset, model)
    with suppress(BadInput):  # not prepared, or nothing that could be: the child says what is wrong
        datasets.describe(dataset, home, **how)
        return
    request = PrepareData(dataset=dataset, home=home, **how)
    try:
        sandbox.run("engine.run.tasks", request.sent(), LIMITS, watch, log)
    except BadInput:
        count_refused("data_refused")
        raise


def data_sha256(experiment: Experiment, home: Path) -> str:
    """Returns the fingerprint of an experiment's data set; "" where there is none, or none any more."""
    if experiment.dataset is None:
        return ""
    with suppress(BadInput, OSError):
        return datasets.fingerprint(experiment.dataset, home, **wanted(experiment.dataset, experiment.model))
    return ""


def wanted(dataset: str | None, model: ModelFile | None) -> dict[str, Any]:
    """Returns what brings pictures to a model, for `datasets.prepare`, `describe` and `load`; nothing where
    they are a preset's own size.
    """
    preset = DATASETS.get(dataset or "")
    if model is None or (preset is not None and tuple(model.input_shape) == tuple(preset.image_shape)):
        return {}
    how = model.preprocessing
    return {"image_shape": model.input_shape, "fit": how.fit, "upright": how.upright}
