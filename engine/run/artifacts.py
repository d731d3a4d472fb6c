"""What children measure of a run's files: accuracy, robustness, time and memory, in their own runtime.

Of what children do, `accuracy` and `robustness` alone open the test part.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends import images_at_once
from engine.datasets import Part
from engine.device.model import open_model
from engine.device.preprocessing import preprocess
from engine.judge import measure, trust
from engine.run import golden
from engine.run.answers import write_answers
from engine.run.images import one_input, parts_of
from engine.run.requests import MeasureAccuracy, MeasureRobustness, TimeArtifacts, WeighArtifact
from engine.vocabulary import Artifact, Preprocessing
from estimator.types import Profile

Send = Callable[[dict[str, Any]], None]
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
MOST_COMPARED = 1_000
MOST_CORRUPTED = 500
MOST_CHOOSING = 1_000  # validation images that a threshold of confidence is chosen on


def accuracy(request: MeasureAccuracy, send: Send) -> dict[str, Any]:
    """Measures artifacts on the test part in their own runtime; returns Figures by variant id.

    The baseline's predictions are kept for the paired tests of the variants that come later.
    """
    test = parts_of(request, ("test",))["test"] if request.dataset else None
    found = {}
    for variant, artifact in request.artifacts.items():
        path = decoded(artifact, request.folder)
        figures = _contents(path)
        figures["compressed_bytes"] = measure.compressed_bytes(request.folder / artifact.path)
        int4 = Profile.model_validate(figures["profile"]).int4_weights
        loaded = open_model(path, request.threads, int4, exact=variant in request.exact)
        how = request.model.preprocessing.as_fed(path)
        golden.write_scores(
            loaded.predict, how, request.folder / golden.FOLDER, path.with_suffix(".golden.npy")
        )
        if test is not None:
            predict = partial(_predict, loaded, how, request.model.outputs)
            figures |= _on_test_part(request, variant, path, predict, test)
        found[variant] = figures
    return found


def robustness(request: MeasureRobustness, send: Send) -> dict[str, Any]:
    """Measures artifacts on test images as they are and corrupted; returns Robustness as plain data by id."""
    from engine.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupted
    from estimator.profile.graph import profile as read

    test = parts_of(request, ("test",), MOST_CORRUPTED)["test"]
    images, predict = np.asarray(test.images), {}
    found: dict[str, dict[str, Any]] = {}
    for variant, artifact in request.artifacts.items():
        path = decoded(artifact, request.folder)
        loaded = open_model(path, request.threads, read(path).int4_weights, exact=variant in request.exact)
        predict[variant] = partial(
            _predict, loaded, request.model.preprocessing.as_fed(path), request.model.outputs
        )
        clean = measure.accuracy(predict[variant](images)[0], test.labels)
        found[variant] = {"images": len(images), "clean": clean, "corrupted": {n: [] for n in CORRUPTIONS}}
    for number, name in enumerate(CORRUPTIONS):
        for severity in range(SEVERITIES):
            send({"kind": "progress", "fraction": number / len(CORRUPTIONS), "text": name})
            changed = corrupted(images, name, severity)
            for variant, answers in predict.items():
                right = measure.accuracy(answers(changed)[0], test.labels)
                found[variant]["corrupted"][name].append(right)
    return found


def _on_test_part(
    request: MeasureAccuracy, variant: str, path: Path, predict: Predict, test: Part
) -> dict[str, Any]:
    model, keep = request.model, request.folder / "cache" / "baseline_predictions.npy"
    predicted, sure = predict(test.images)
    write_answers(path, predicted, sure)
    if variant == "baseline":
        np.save(keep, predicted)
    baseline = np.load(keep) if variant != "baseline" and keep.exists() else None
    found = measure.classification(predicted, test.labels, baseline, len(model.classes))
    right = predicted == test.labels
    found |= {"calibration_error": trust.calibration_error(sure, right)}
    chosen = parts_of(request, ("validation",), MOST_CHOOSING)["validation"]
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
    train = parts_of(request, ("train",), min(len(right), MOST_COMPARED))["train"]
    seen = predict(train.images)[0] == train.labels
    return measure.overfitting(seen, right)


def decoded(artifact: Artifact, folder: Path) -> Path:
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
        name: partial(m.run_once, one_input(request.model, request.paths[name])) for name, m in loaded.items()
    }
    times = measure.time_interleaved(runs, request.seconds, request.rounds)
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
    one = one_input(request.model, request.path)
    loaded = open_model(request.folder / request.path, request.threads, request.int4)
    for _ in range(5):
        loaded.run_once(one)
    return {"peak_memory_bytes": peak_bytes()}


def peak_bytes() -> int | None:
    """Returns this process's peak resident bytes as the kernel counted them, so that no spike falls between
    samples; None where the system does not tell.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
