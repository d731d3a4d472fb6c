"""What children of a run do, one function a task: `python -m engine.run.tasks` answers one request behind the
wall.

What opens the test part is in `engine.run.artifacts`. A child imports the one framework that its task needs.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import datasets
from engine.backends import TRAINED_SHARE, images_at_once, open_backend
from engine.datasets import Part
from engine.errors import BadInput
from engine.run import artifacts, golden, picture, profiler
from engine.run.images import generated, parts_of
from engine.run.requests import (
    FACTS,
    FindFacts,
    FindSensitivity,
    MakeVariants,
    MeasureAccuracy,
    MeasureRobustness,
    OfRun,
    PrepareData,
    ProfileFile,
    Request,
    TimeArtifacts,
    TimeOperators,
    TryPicture,
    WeighArtifact,
)
from engine.runtimes import format_of
from engine.vocabulary import ModelFile
from engine.wall.child import serve

if TYPE_CHECKING:
    from engine.techniques.job import Data
    from engine.techniques.workbench import Workbench

Send = Callable[[dict[str, Any]], None]
PROBE_S = 1.5  # seconds spent on finding out how fast this network trains here


def prepare_data(request: PrepareData, send: Send) -> dict[str, Any]:
    """Makes the data set ready on disk; returns {}."""
    datasets.prepare(
        request.dataset,
        request.home,
        lambda fraction, text: send({"kind": "progress", "fraction": fraction, "text": text}),
        image_shape=request.image_shape,
        fit=request.fit,
        upright=request.upright,
    )
    return {}


def facts(request: FindFacts, send: Send) -> dict[str, Any]:
    """Looks the model over and times its training; returns Facts as plain data. Writes nothing."""
    backend, data = _opened(request)
    _check_shape(request.model, data)
    network = backend.load(request.model)
    images = np.asarray(data.calibration.images[:100])
    _check_classes(backend.logits(network, images).shape[1], data)
    found = backend.facts(network)
    began = time.perf_counter()
    backend.logits(network, images)
    speed: dict[str, float] = {"evaluate_images_per_s": len(images) / (time.perf_counter() - began)}
    if request.trains and data.train is not None and not found.quantized and request.model.reach == "all":
        speed |= _training_cost(backend, network, data.train)
    plain: dict[str, Any] = FACTS.dump_python(replace(found, **speed), mode="json")
    return plain


def _training_cost(backend: Any, network: Any, train: Part) -> dict[str, Any]:
    """Times steps of two batch sizes: what a step costs whatever its batch, and what each image adds."""
    many = min(
        64, len(train.labels), images_at_once(train.images.shape[1], train.images.shape[2], TRAINED_SHARE)
    )
    few = max(1, many // 4)
    slow, fast = (backend.step_seconds(network, train, batch, PROBE_S / 2) for batch in (many, few))
    image_s = max((slow - fast) / max(1, many - few), 0.3 * slow / many)  # noise must not make images free
    return {"image_s": image_s, "step_s": max(slow - image_s * many, 0.0)}


def _check_shape(model: ModelFile, data: "Data") -> None:
    if data.train is None:
        return
    shape, wanted = data.train.images.shape[1:], tuple(model.input_shape)
    if tuple(shape) != wanted:
        raise BadInput(
            f"The model takes images of {wanted[0]}x{wanted[1]}x{wanted[2]} and the data set has "
            f"{shape[0]}x{shape[1]}x{shape[2]}: choose a data set that fits, or another model."
        )


def _check_classes(classes: int, data: "Data") -> None:
    if data.train is not None and int(data.train.labels.max()) >= classes:
        raise BadInput(
            f"The model answers with {classes} classes and the data set has"
            f" {int(data.train.labels.max()) + 1}: choose the data set it was trained for."
        )


def technique(request: MakeVariants, send: Send) -> dict[str, Any]:
    """Runs one technique (or `baseline`); each variant is told as soon as it is finished. Returns {}."""
    from engine.techniques import TECHNIQUES

    bench = _workbench(
        request,
        request.technique,
        send,
        tolerance=request.tolerance,
        dot_product=request.dot_product,
        channel_multiple=request.channel_multiple,
        device=request.device,
        calibration=request.calibration,
        constraints=request.constraints,
        cautious=request.cautious,
        sensitivity=request.sensitivity,
    )
    if request.technique == "baseline":
        _baseline(bench)
    else:
        TECHNIQUES[request.technique].run(bench)
    return {}


def _workbench(request: MakeVariants | FindSensitivity, name: str, send: Send, **how: Any) -> "Workbench":
    """Returns the place of work; `how`: tolerance, dot_product, sensitivity, where a technique is at work."""
    # only here: the peak memory of an artifact must not hold what techniques import
    from engine.techniques.job import Job
    from engine.techniques.workbench import Workbench

    job = Job(name, request.model, request.facts, request.folder, request.seed, request.seconds, **how)
    return Workbench(job, *_opened(request), send)


def _baseline(bench: "Workbench") -> None:
    with bench.variant("baseline") as making:
        making.step("export", "The model as it was given, written for the device's runtime.")
        making.export(bench.network())
        golden.write_pictures(bench.data.validation or bench.data.calibration, bench.folder / golden.FOLDER)
    bench.answer_ahead()


def sensitivity(request: FindSensitivity, send: Send) -> dict[str, Any]:
    """Finds what is lost when one layer alone is changed; returns {"rows"}."""
    from engine.techniques.shared.sensitivity import sensitivity as find

    bench = _workbench(request, "sensitivity", send)
    if bench.data.validation is None:
        raise BadInput("it needs labelled images, and this run has none: choose a data set")
    rows = find(
        bench.backend,
        bench.network(),
        bench.facts,
        bench.data.validation,
        lambda fraction, layer: send(
            {"kind": "progress", "fraction": fraction, "text": f"changing only {layer}"}
        ),
        bench.has_time,
    )
    if (found := len({row.layer for row in rows})) < len(bench.facts.layers):
        text = (
            f"per-layer sensitivity: the {found} largest of {len(bench.facts.layers)} layers, there was no"
            " time for the others"
        )
        send({"kind": "log", "text": text})
    return {"rows": [row.model_dump(mode="json") for row in rows]}


def _opened(request: OfRun) -> "tuple[Any, Data]":
    format = format_of(request.model, request.runtime)
    return open_backend(request.model, request.folder / "cache", request.threads, format), _data(request)


def _data(request: OfRun) -> "Data":
    from engine.techniques.job import Data

    if request.dataset is None:
        return Data(None, None, generated(request.model))
    parts = parts_of(request, ("train", "validation", "calibration"))
    return Data(parts["train"], parts["validation"], parts["calibration"])


def profile(request: ProfileFile, send: Send) -> dict[str, Any]:
    """Returns the profile of a model file; one that is no graph is exported into the folder first."""
    from estimator.profile.graph import profile as read

    path = request.path
    if request.model is not None:
        format = format_of(request.model, request.runtime)
        backend = open_backend(request.model, request.folder, 1, format)
        path = backend.export(backend.load(request.model), None, None, request.folder / "model")
    return read(path).model_dump(mode="json")


TASKS: dict[str, tuple[type[Request], Callable[[Any, Send], dict[str, Any]]]] = {
    "prepare_data": (PrepareData, prepare_data),
    "facts": (FindFacts, facts),
    "sensitivity": (FindSensitivity, sensitivity),
    "technique": (MakeVariants, technique),
    "accuracy": (MeasureAccuracy, artifacts.accuracy),
    "robustness": (MeasureRobustness, artifacts.robustness),
    "picture": (TryPicture, picture.picture),
    "timing": (TimeArtifacts, artifacts.timing),
    "memory": (WeighArtifact, artifacts.memory),
    "operators": (TimeOperators, profiler.operators),
    "profile": (ProfileFile, profile),
}


def answer(plain: dict[str, Any], send: Send) -> dict[str, Any]:
    """Answers one request, given as plain data."""
    kind, task = TASKS[plain["task"]]
    return task(kind.model_validate(plain), send)


if __name__ == "__main__":
    serve(answer)
