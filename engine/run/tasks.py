"""What children of a run do, one function a task: `python -m engine.run.tasks` answers one request behind the
wall.

Only the `accuracy` task opens the test part. A child imports the one framework that its task needs.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine import datasets
from engine.datasets import Part
from engine.errors import BadInput
from engine.judge import measure
from engine.store.workspace import write_json
from engine.vocabulary import ModelFile
from engine.wall.child import serve

Send = Callable[[dict], None]
PROBE_S = 1.5  # seconds spent on finding out how fast this network trains here
GENERATED_IMAGES = 128
MOST_COMPARED = 1_000


def prepare_data(request: dict, send: Send) -> dict:
    """Makes the data set ready on disk; returns {}."""
    datasets.prepare(
        request["dataset"],
        request["home"],
        lambda fraction, text: send({"kind": "progress", "fraction": fraction, "text": text}),
        image_shape=_image_shape(request),
    )
    return {}


def _image_shape(request: dict) -> tuple[int, int, int] | None:
    """Returns the size that images are brought to: the model's input, or None where that is the preset's own
    size.
    """
    wanted = tuple(request["model"]["input_shape"]) if request.get("model") else None
    preset = datasets.DATASETS.get(request["dataset"])
    return None if preset is not None and wanted in (None, tuple(preset.image_shape)) else wanted


def facts(request: dict, send: Send) -> dict:
    """Looks the model over and times its training; returns Facts as plain data. Writes nothing."""
    backend, model, data = _opened(request)
    network = backend.load(model)
    _check_fit(model, backend, network, data)
    found = backend.facts(network, data.train is not None)
    plain = {**found.__dict__, "layers": [layer.__dict__ for layer in found.layers]}
    images = np.asarray(data.calibration.images[:100])
    backend.logits(network, images)
    began = time.perf_counter()
    backend.logits(network, images)
    plain["evaluate_images_per_s"] = len(images) / (time.perf_counter() - began)
    if data.train is not None and not found.quantized and model.reach == "all":
        plain |= _training_cost(backend, network, data.train)
    return plain


def _training_cost(backend, network, train: Part) -> dict:
    """Times steps of two batch sizes: what a step costs whatever its batch, and what each image adds."""
    from engine.backends import TRAINED_SHARE, images_at_once

    many = min(64, len(train.labels), images_at_once(*train.images.shape[1:3], TRAINED_SHARE))
    few = max(1, many // 4)
    slow, fast = (backend.step_seconds(network, train, batch, PROBE_S / 2) for batch in (many, few))
    image_s = max((slow - fast) / max(1, many - few), 0.3 * slow / many)  # noise must not make images free
    return {"image_s": image_s, "step_s": max(slow - image_s * many, 0.0)}


def _check_fit(model: ModelFile, backend, network, data) -> None:
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


def technique(request: dict, send: Send) -> dict:
    """Runs one technique (or `baseline`, `sensitivity`); its variants are written to the run's folder."""
    from engine.techniques import TECHNIQUES
    from engine.techniques.workbench import Workbench

    backend, model, data = _opened(request)
    name, folder = request["technique"], Path(request["folder"])
    bench = Workbench(
        name,
        model,
        backend,
        _facts(request["facts"]),
        data,
        folder,
        request["seed"],
        request["seconds"],
        request["tolerance"],
        request["dot_product"],
        send,
    )
    if name == "baseline":
        _baseline(bench)
    elif name == "sensitivity":
        _sensitivity(bench, request["seconds"], folder, send)
    else:
        for _ in TECHNIQUES[name].run(bench):
            pass
    return {}


def _baseline(bench) -> None:
    with bench.variant("baseline") as making:
        making.step("export", "The model as it was given, written for the device's runtime.")
        making.export(bench.network())
        _write_sample(bench.data.validation or bench.data.calibration, bench.folder / "sample.png")


def _write_sample(part: Part, path: Path) -> None:
    """Writes one image as PNG: the package ships it and is tried with it."""
    from PIL import Image

    image = np.asarray(part.images[0])
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)


def _sensitivity(bench, seconds: float, folder: Path, send: Send) -> None:
    from engine.techniques.shared.sensitivity import sensitivity

    if bench.data.validation is None:
        return
    rows = sensitivity(
        bench.backend,
        bench.network(),
        bench.facts,
        bench.data.validation,
        seconds,
        lambda fraction, layer: send(
            {"kind": "progress", "fraction": fraction, "text": f"changing only {layer}"}
        ),
        bench.has_time,
    )
    if (found := len({row.layer for row in rows})) < len(bench.facts.layers):
        send(
            {
                "kind": "log",
                "text": (
                    f"per-layer sensitivity: the {found} largest of {len(bench.facts.layers)} layers, there"
                    " was no time for the others"
                ),
            }
        )
    write_json(folder / "cache" / "sensitivity.json", [row.model_dump(mode="json") for row in rows])


def _opened(request: dict) -> tuple:
    from engine.backends import open_backend

    model = ModelFile(**request["model"])
    backend = open_backend(model, Path(request["folder"]) / "cache", request["threads"])
    return backend, model, _data(request, model)


def _data(request: dict, model: ModelFile):
    from engine.techniques.workbench import Data

    if request["dataset"] is None:
        return Data(None, None, generated(model))
    parts = datasets.load(request["dataset"], request["home"], image_shape=_image_shape(request))
    return Data(parts["train"], parts["validation"], parts["calibration"])


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


def _facts(plain: dict):
    from engine.backends import Facts, LayerInfo

    layers = tuple(LayerInfo(**{**layer, "shape": tuple(layer["shape"])}) for layer in plain["layers"])
    return Facts(**{**plain, "layers": layers})


def accuracy(request: dict, send: Send) -> dict:
    """Measures artifacts on the test part in their own runtime; returns the figures by variant id.

    The baseline's predictions are kept for the paired tests of the variants that come later.
    """
    from engine.runtimes import open_artifact

    model = ModelFile(**request["model"])
    keep = Path(request["folder"]) / "cache" / "baseline_predictions.npy"
    parts = (
        datasets.load(request["dataset"], request["home"], ("test",), image_shape=_image_shape(request))
        if request["dataset"]
        else {}
    )
    results = {}
    for variant, files in request["artifacts"].items():
        path = _decoded(files, request["folder"])
        figures = _contents(path)
        if parts:
            loaded = (
                _open_exact(path, request)
                if request["exact"].get(variant)
                else open_artifact(path, request["threads"])
            )
            predicted = _predict(loaded, parts["test"].images, model)
            if variant == "baseline":
                np.save(keep, predicted)
            figures |= measure.classification(
                predicted, parts["test"].labels, np.load(keep) if keep.exists() else None, len(model.classes)
            )
            if variant == "baseline":
                figures["remarks"] = _learnt_by_heart(
                    loaded, request, model, predicted == parts["test"].labels
                )
        figures["compressed_bytes"] = measure.compressed_bytes(Path(request["folder"]) / files["path"])
        results[variant] = figures
    return results


def _learnt_by_heart(loaded, request: dict, model: ModelFile, right: np.ndarray) -> list[str]:
    """Compares the test part (bool [n]) with as many training images; returns a sentence where those do far
    better.
    """
    count = min(len(right), MOST_COMPARED)
    train = datasets.load(request["dataset"], request["home"], ("train",), count, _image_shape(request))[
        "train"
    ]
    seen = _predict(loaded, train.images, model) == train.labels
    return measure.overfitting(seen, right)


def _open_exact(path: Path, request: dict):
    from engine.runtimes.onnxruntime import ONNXModel

    return ONNXModel(path, request["threads"], exact=True)


def _decoded(files: dict, folder: str) -> Path:
    """Returns the file to run; an entropy-coded artifact is decoded afresh, so that what is measured is what
    is shipped.
    """
    if not files.get("runs_as"):
        return Path(folder) / files["path"]
    from engine.device.decoder import decode

    target = Path(folder) / files["runs_as"]
    target.write_bytes(decode((Path(folder) / files["path"]).read_bytes()))
    return target


def _predict(loaded, images: np.ndarray, model: ModelFile) -> np.ndarray:
    from engine.backends import images_at_once
    from engine.device.preprocessing import preprocess

    spec, size = (
        model.preprocessing.model_dump(),
        images_at_once(model.preprocessing.height, model.preprocessing.width),
    )
    return np.concatenate(
        [
            loaded.predict(preprocess(images[i : i + size], spec)).argmax(1)
            for i in range(0, len(images), size)
        ]
    )


def _contents(path: Path) -> dict:
    """Reads what the file holds: parameters, non-zero ones, MACs, sparsity; the profile itself is kept for
    estimates.
    """
    from estimator.profile.graph import profile

    found = profile(path)
    write_json(path.with_suffix(".profile.json"), found.model_dump(mode="json"))
    zero_share = 1 - found.nonzero_parameters / found.parameters if found.parameters else 0.0
    return {
        "parameters": found.parameters,
        "nonzero_parameters": found.nonzero_parameters,
        "macs": found.macs,
        "zero_share": zero_share,
    }


def timing(request: dict, send: Send) -> dict:
    """Times all artifacts in turn in one process; returns latency, throughput, runtime and threads by variant
    id.
    """
    from engine.device.preprocessing import preprocess
    from engine.runtimes import open_artifact

    model = ModelFile(**request["model"])
    one = preprocess(generated(model).images[:1], model.preprocessing.model_dump())
    loaded = {
        name: open_artifact(Path(request["folder"]) / path, request["threads"])
        for name, path in request["paths"].items()
    }
    times = measure.time_interleaved(
        {name: lambda m=m: m.run_once(one) for name, m in loaded.items()}, request["seconds"]
    )
    return {
        name: {
            "runtime": m.runtime,
            "runtime_version": m.version,
            "threads": m.threads,
            "interleaved": True,
            "latency_ms": measure.percentiles(times[name]),
            "throughput_per_s": 1000 * len(times[name]) / sum(times[name]),
        }
        for name, m in loaded.items()
    }


def memory(request: dict, send: Send) -> dict:
    """Loads one artifact alone and runs it; returns the process's own peak of resident bytes."""
    from engine.device.preprocessing import preprocess
    from engine.runtimes import open_artifact

    model = ModelFile(**request["model"])
    one = preprocess(generated(model).images[:1], model.preprocessing.model_dump())
    loaded = open_artifact(Path(request["folder"]) / request["path"], request["threads"])
    for _ in range(5):
        loaded.run_once(one)
    return {"peak_memory_bytes": peak_bytes()}


def profile(request: dict, send: Send) -> dict:
    """Returns the profile of a model file; one that is no graph is exported into the folder first."""
    from estimator.profile.graph import profile as read

    path = Path(request["path"])
    if request["model"] is not None:
        from engine.backends import open_backend

        model = ModelFile(**request["model"])
        backend = open_backend(model, Path(request["folder"]), 1)
        path = backend.export(backend.load(model), None, None, Path(request["folder"]) / "model")
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


TASKS = {task.__name__: task for task in (prepare_data, facts, technique, accuracy, timing, memory, profile)}

if __name__ == "__main__":
    serve(lambda request, send: TASKS[request["task"]](request, send))
