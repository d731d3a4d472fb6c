"""Real Keras files that people published: each loads, and every technique that fits runs on it.

EDGEWISE_UPLOADS is a folder of uploads with keras_h5/ and keras_v3/, EDGEWISE_DATA one with mnist.npz and
cifar10.npz.
"""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from engine.datasets import Part
from engine.techniques import TECHNIQUES
from engine.vocabulary import Preprocessing

UPLOADS, DATA = os.environ.get("EDGEWISE_UPLOADS"), os.environ.get("EDGEWISE_DATA")
FILES = (
    sorted(p for folder in ("keras_h5", "keras_v3") for p in Path(UPLOADS, folder).glob("*.*"))
    if UPLOADS
    else []
)
DATA_SETS = {"Streamlit_Minimal_ML": "mnist", "MNIST-models": "mnist", "pretrainedResnet": "cifar10"}
PIXELS = {"pretrainedResnet": 1.0}  # trained on 0..255; the others on 0..1
LEAST_INT8_ACCURACY = 0.85
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UPLOADS, reason="EDGEWISE_UPLOADS names no folder of uploads"),
]


@pytest.fixture(params=FILES, ids=[f.name.split("__")[-1] for f in FILES])
def upload(request, tmp_path):
    """(ModelFile, backend, network, data set's id or None) of one file."""
    from engine.backends import backend_for
    from engine.formats.inspect import inspect_model

    model = inspect_model(request.param)
    height, width, channels = model.input_shape
    scale = next((s for part, s in PIXELS.items() if part in request.param.name), 1 / 255)
    preprocessing = Preprocessing(
        height=height,
        width=width,
        color="grey" if channels == 1 else "rgb",
        layout="NHWC",
        scale=scale,
        mean=[0.0] * channels,
        std=[1.0] * channels,
    )
    model = model.model_copy(update={"preprocessing": preprocessing})
    backend = backend_for("keras", preprocessing, tmp_path / "cache", 2)
    return (
        model,
        backend,
        backend.load(model),
        next((d for part, d in DATA_SETS.items() if part in request.param.name), None),
    )


def parts_of(name: str, count: int = 600) -> tuple[Part, Part, Part]:
    """Returns train, validation and test parts of a data set's first images."""
    with np.load(Path(DATA, f"{name}.npz")) as data:
        arrays = {key: data[key] for key in data.files}
    images = {part: arrays[f"{part}_images"] for part in ("train", "test")}
    images = {part: x[..., None] if x.ndim == 3 else x for part, x in images.items()}
    labels = {part: arrays[f"{part}_labels"].ravel().astype(np.int64) for part in ("train", "test")}
    return (
        Part(images["train"][:count], labels["train"][:count]),
        Part(images["train"][count : 2 * count], labels["train"][count : 2 * count]),
        Part(images["test"], labels["test"]),
    )


class Enough(BaseException):
    """Ends a technique when a variant begins that is not wanted."""


def only(variant: str, messages: list):
    """Returns what keeps a technique's messages and ends it when another variant begins."""

    def send(message: dict) -> None:
        if message["kind"] == "variant_started" and message["variant"] != variant:
            raise Enough
        messages.append(message)

    return send


def first_variants(upload, folder: Path, data, techniques) -> dict[str, str]:
    """Makes the first variant of each technique, ten steps where it trains; returns what did not become
    `done`, with the reason.
    """
    from engine.techniques.job import Job
    from engine.techniques.workbench import Workbench

    model, backend, network, _ = upload
    (folder / "cache").mkdir(exist_ok=True)
    messages = []
    facts = backend.facts(network)
    for technique in techniques:
        assert not technique.why_not(facts)
        how = {"seed": 0, "seconds": 0.01, "tolerance": 0.003, "device": "raspberry_pi_4"}
        job = Job(technique.id, model, facts, folder, **how)
        bench = Workbench(job, backend, data, only(technique.variants[0], messages))
        with suppress(Enough):
            technique.run(bench)
    made = [m["variant"] for m in messages if m["kind"] == "variant_made"]
    assert len(made) == len(techniques)
    return {v["id"]: v["reason"] for v in made if v["status"] != "done"}


def test_techniques_that_need_no_labels(upload, tmp_path):
    from engine.run.images import generated
    from engine.techniques.job import Data

    after_training = [t for t in TECHNIQUES.values() if not t.trains]
    assert first_variants(upload, tmp_path, Data(None, None, generated(upload[0])), after_training) == {}


@pytest.mark.skipif(not DATA, reason="EDGEWISE_DATA names no folder of data sets")
def test_every_technique_with_its_data_set(upload, tmp_path):
    from engine.techniques.job import Data

    if upload[3] is None:
        pytest.skip("its data set is not one of the presets")
    train, validation, _ = parts_of(upload[3])
    assert first_variants(upload, tmp_path, Data(train, validation, train), list(TECHNIQUES.values())) == {}


@pytest.mark.skipif(not DATA, reason="EDGEWISE_DATA names no folder of data sets")
def test_resnet8_keeps_its_accuracy_in_int8(upload, tmp_path):
    from engine.backends.protocol import QuantSpec

    _model, backend, network, dataset = upload
    if dataset != "cifar10":
        pytest.skip("another network")
    train, _, test = parts_of("cifar10")
    path = backend.export(network, QuantSpec("static_int8"), train.images[:300], tmp_path / "int8")
    assert (backend.predict(path, test.images).argmax(1) == test.labels).mean() >= LEAST_INT8_ACCURACY
