"""The pictures of a run, as its children see them."""

import numpy as np

from engine import datasets
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.run.prepare import wanted
from engine.run.requests import OfRun
from engine.vocabulary import ModelFile

GENERATED_IMAGES = 128


def parts_of(request: OfRun, names: tuple[str, ...], limit: int | None = None) -> dict[str, Part]:
    """Returns parts of a run's data set by name, at most `limit` pictures of each, as its model wants
    them.
    """
    how = wanted(request.dataset, request.model)
    return datasets.load(
        request.dataset or "", request.home, names, limit, classes=request.model.classes, **how
    )


def generated(model: ModelFile) -> Part:
    """Returns made-up images for a run without a data set: seeded smooth noise over the full range of
    values.
    """
    height, width, channels = model.input_shape
    random = np.random.default_rng(0)
    coarse = random.integers(
        0, 256, (GENERATED_IMAGES, -(-height // 4), -(-width // 4), channels), dtype=np.uint8
    )
    images = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    return Part(np.ascontiguousarray(images), np.zeros(GENERATED_IMAGES, np.int64))


def one_input(model: ModelFile, file: str) -> np.ndarray:
    """Returns a made-up image as a file of this name is fed, float32 [1, …]."""
    return preprocess(generated(model).images[:1], model.preprocessing.as_fed(file).model_dump())
