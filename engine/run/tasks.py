"""What children of a run do, one function a task: `python -m engine.run.tasks` answers one request behind the
wall.

Only the `accuracy` task opens the test part. A child imports the one framework that its task needs.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import datasets
from engine.backends import TRAINED_SHARE, images_at_once, open_backend
from engine.datasets import Part
from engine.device.model import open_model
from engine.device.preprocessing import preprocess
from engine.errors import BadInput
from engine.judge import measure, trust
from engine.run import golden
from engine.run.prepare import wanted
from engine.run.requests import (
    FACTS,
    FindFacts,
    FindSensitivity,
    MakeVariants,
    MeasureAccuracy,
    OfRun,
    PrepareData,
    ProfileFile,
    Request,
    TimeArtifacts,
    WeighArtifact,
)
from engine.runtimes import format_of
from engine.vocabulary import Artifact, ModelFile, Preprocessing
from engine.wall.child import serve
from estimator.types import Profile

if TYPE_CHECKING:
    from engine.techniques.job import Data
    from engine.techniques.workbench import Workbench

Send = Callable[[dict[str, Any]], None]
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
PROBE_S = 1.5  # seconds spent on finding out how fast this network trains here
GENERATED_IMAGES = 128
MOST_COMPARED = 1_000
MOST_CHOOSING = 1_000  # validation images that a threshold of confidence is chosen on


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
    network = backend.load(request.model)
    _check_fit(request.model, backend, network, data)
    found = backend.facts(network)
    images = np.asarray(data.calibration.images[:100])
    backend.logits(network, images)
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


def _check_fit(model: ModelFile, backend: Any, network: Any, data: "Data") -> None:
    if data.train is None:
        return
    shape, wanted = data.train.images.shape[1:], tuple(model.input_shape)
    if tuple(shape) != wanted:
        raise BadInput(
            f"The model takes images of {wanted[0]}x{wanted[1]}x{wanted[2]} and the data set has "
            f"{shape[0]}x{shape[1]}x{shape[2]}: choose a data set that fits, or another model."
        )
    classes = backend.logits(network, np.asarray(data.train.images[:1])).shape[1]
    if int(data.train.labels.max()) >= classes:
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
    parts = _parts(request, ("train", "validation", "calibration"))
    return Data(parts["train"], parts["validation"], parts["calibration"])


def _parts(request: OfRun, names: tuple[str, ...], limit: int | None = None) -> dict[str, Part]:
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


def accuracy(request: MeasureAccuracy, send: Send) -> dict[str, Any]:
    """Measures artifacts on the test part in their own runtime; returns Figures by variant id.

    The baseline's predictions are kept for the paired tests of the variants that come later.
    """
    test = _parts(request, ("test",))["test"] if request.dataset else None
    found = {}
    for variant, artifact in request.artifacts.items():
        path = _decoded(artifact, request.folder)
        figures = _contents(path)
        figures["compressed_bytes"] = measure.compressed_bytes(request.folder / artifact.path)
        int4 = Profile.model_validate(figures["profile"]).int4_weights
        loaded = open_model(path, request.threads, int4, exact=variant in request.exact)
        how = request.model.preprocessing.as_fed(path)
        golden.write_scores(
            loaded.predict, how, request.folder / golden.FOLDER, path.with_suffix(".golden.npy")
        )
        if test is not None:
            figures |= _on_test_part(
                request, variant, partial(_predict, loaded, how, request.model.outputs), test
            )
        found[variant] = figures
    return found


def _on_test_part(request: MeasureAccuracy, variant: str, predict: Predict, test: Part) -> dict[str, Any]:
    model, keep = request.model, request.folder / "cache" / "baseline_predictions.npy"
    predicted, sure = predict(test.images)
    if variant == "baseline":
        np.save(keep, predicted)
    baseline = np.load(keep) if variant != "baseline" and keep.exists() else None
    found = measure.classification(predicted, test.labels, baseline, len(model.classes))
    right = predicted == test.labels
    found |= {"calibration_error": trust.calibration_error(sure, right)}
    chosen = _parts(request, ("validation",), MOST_CHOOSING)["validation"]
    answers, how_sure = predict(chosen.images)
    found |= {"answered": trust.curve((how_sure, answers == chosen.labels), (sure, right))}
    figures: dict[str, Any] = {"accuracy": found}
    if variant == "baseline":
        figures["remarks"] = _learnt_by_heart(predict, request, right)
    return figures


def _learnt_by_heart(predict: Predict, request: MeasureAccuracy, right: np.ndarray) -> list[str]:
    """Compares the test part (bool [n]) with as many training images; returns a sentence where those do far
    better.
    """
    train = _parts(request, ("train",), min(len(right), MOST_COMPARED))["train"]
    seen = predict(train.images)[0] == train.labels
    return measure.overfitting(seen, right)


def _decoded(artifact: Artifact, folder: Path) -> Path:
    """Returns the file to run; an entropy-coded artifact is decoded afresh, so that what is measured is what
    is shipped.
    """
    if not artifact.decoded_path:
        return folder / artifact.path
    from engine.device.decoder import decode

    target = folder / artifact.decoded_path
    target.write_bytes(decode((folder / artifact.path).read_bytes()))
    return target


def _predict(
    loaded: Any, how: Preprocessing, outputs: str, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each image is taken for (int [n]), and with what confidence (float [n])."""
    spec, size = how.model_dump(), images_at_once(how.height, how.width)
    scores = np.concatenate(
        [loaded.predict(preprocess(images[i : i + size], spec)) for i in range(0, len(images), size)]
    )
    return scores.argmax(1), trust.confidence(scores, outputs)


def _contents(path: Path) -> dict[str, Any]:
    """Reads what the file holds: parameters, non-zero ones, MACs, sparsity, and the profile for estimates."""
    from estimator.profile.graph import profile

    found = profile(path)
    nonzero = found.nonzero_parameters or 0
    zero_share = 1 - nonzero / found.parameters if found.parameters else 0.0
    return {
        "parameters": found.parameters,
        "nonzero_parameters": found.nonzero_parameters,
        "macs": found.macs,
        "zero_share": zero_share,
        "profile": found.model_dump(mode="json"),
    }


def timing(request: TimeArtifacts, send: Send) -> dict[str, Any]:
    """Times all artifacts in turn in one process; returns Host by variant id."""
    loaded = {
        name: open_model(request.folder / path, request.threads, name in request.int4)
        for name, path in request.paths.items()
    }
    runs: dict[str, Callable[[], object]] = {
        name: partial(m.run_once, _one_input(request.model, request.paths[name]))
        for name, m in loaded.items()
    }
    times = measure.time_interleaved(runs, request.seconds)
    return {
        name: {
            "runtime": m.id,
            "runtime_version": m.version,
            "threads": m.threads,
            "interleaved": True,
            "latency_ms": measure.percentiles(times[name]),
            "throughput_per_s": 1000 * len(times[name]) / sum(times[name]),
        }
        for name, m in loaded.items()
    }


def memory(request: WeighArtifact, send: Send) -> dict[str, Any]:
    """Loads one artifact alone and runs it; returns PeakMemory: the process's own."""
    one = _one_input(request.model, request.path)
    loaded = open_model(request.folder / request.path, request.threads, request.int4)
    for _ in range(5):
        loaded.run_once(one)
    return {"peak_memory_bytes": peak_bytes()}


def _one_input(model: ModelFile, file: str) -> np.ndarray:
    return preprocess(generated(model).images[:1], model.preprocessing.as_fed(file).model_dump())


def profile(request: ProfileFile, send: Send) -> dict[str, Any]:
    """Returns the profile of a model file; one that is no graph is exported into the folder first."""
    from estimator.profile.graph import profile as read

    path = request.path
    if request.model is not None:
        format = format_of(request.model, request.runtime)
        backend = open_backend(request.model, request.folder, 1, format)
        path = backend.export(backend.load(request.model), None, None, request.folder / "model")
    return read(path).model_dump(mode="json")


def peak_bytes() -> int | None:
    """Returns this process's peak resident bytes as the kernel counted them, so that no spike falls between
    samples; None where the system does not tell.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


TASKS: dict[str, tuple[type[Request], Callable[[Any, Send], dict[str, Any]]]] = {
    "prepare_data": (PrepareData, prepare_data),
    "facts": (FindFacts, facts),
    "sensitivity": (FindSensitivity, sensitivity),
    "technique": (MakeVariants, technique),
    "accuracy": (MeasureAccuracy, accuracy),
    "timing": (TimeArtifacts, timing),
    "memory": (WeighArtifact, memory),
    "profile": (ProfileFile, profile),
}


def answer(plain: dict[str, Any], send: Send) -> dict[str, Any]:
    """Answers one request, given as plain data."""
    kind, task = TASKS[plain["task"]]
    return task(kind.model_validate(plain), send)


if __name__ == "__main__":
    serve(answer)
