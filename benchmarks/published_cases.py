"""The walk-throughs that people start from, done with this tool, their published figures beside ours.

Published sizes and milliseconds are of other machines: a size can be compared, of the times only their
ratios. Each case is one run, so that its files are timed in turn in one process. Networks are trained here
once and kept in build/; MobileNetV2 at 224 has random weights, so only its size and speed count.
Needs EDGEWISE_DATA (mnist.npz, cifar10.npz).
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.engine_run import BUILD, MNIST, random_network, run, trained, uploaded
from benchmarks.peers import IMAGENET, few_pictures
from engine import datasets
from engine.device.model import open_model
from engine.device.model_opencv import NotTaken, OpenCV
from engine.judge import measure
from engine.store.workspace import Workspace
from engine.vocabulary import Variant

HOME = BUILD / "home-published_cases"
UNIT = {"height": 28, "width": 28, "color": "grey", "layout": "NHWC", "mean": [0.0], "std": [1.0]}
CIFAR = {"height": 32, "width": 32, "color": "rgb", "layout": "NCHW", "mean": [0.5], "std": [0.25]}
DEVICE = "raspberry_pi_4"
BATCHES, ROUNDS, TIMED_S = (1, 8, 32), 200, 10.0
COLUMNS = [
    "case",
    "step",
    "published",
    "MB",
    "times smaller",
    "accuracy %",
    "p50 ms",
    "p99 ms",
    "times as fast",
]


def mnist_cnn() -> Any:
    """Conv 32 and 64 of 3x3, one pooling each, dense 192: 1.3 MB, as the published one."""
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1600, 192), nn.ReLU(), nn.Linear(192, 10)),
    )


def cifar_cnn() -> Any:
    """Two blocks of two convolutions (32, 64), dense 512: 8.7 MB, about as the published one of 8.37."""
    from torch import nn

    def block(inputs: int, outputs: int) -> list:
        first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        return [first, nn.ReLU(), second, nn.ReLU(), nn.MaxPool2d(2)]

    dense = [nn.Flatten(), nn.Linear(64 * 8 * 8, 512), nn.ReLU(), nn.Dropout(0.3), nn.Linear(512, 10)]
    return nn.Sequential(*block(3, 32), *block(32, 64), *dense)


def keras_cnn(epochs: int) -> Path:
    """Trains TensorFlow's tutorial network (conv 12 of 3x3, pooling, dense 10; 20,410 parameters) once."""
    file = BUILD / "keras_cnn.keras"
    if file.exists():
        return file
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    keras.utils.set_random_seed(0)
    datasets.prepare("mnist", HOME)
    part = datasets.load("mnist", HOME, ("train",))["train"]
    layers = [
        keras.layers.Conv2D(12, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
    ]
    network = keras.Sequential([keras.Input((28, 28, 1)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile("adam", loss, metrics=["accuracy"])
    images = part.images.reshape(-1, 28, 28, 1).astype("float32") / 255
    network.fit(images, part.labels.astype("int64"), epochs=epochs, verbose=2)
    network.save(file)
    return file


def ran(model: Any, dataset: str, techniques: list[str], seconds: int, runtime: str | None = None):
    """Returns a run's variants by id, and its folder."""
    done = run(model, dataset, DEVICE, techniques, seconds, home=HOME, runtime=runtime)
    return {v.id: v for v in done.variants}, Workspace(HOME).folder(done.id)


def rows_of(
    case: str, variants: dict[str, Variant], published: dict[str, str], known: bool = True
) -> list[list]:
    """Returns a table row for each variant, the baseline first."""
    base, rows = variants["baseline"], []
    for name, variant in variants.items():
        if variant.status != "done":
            rows.append([case, name, f"{variant.status}: {variant.reason}"] + [None] * 6)
            continue
        assert variant.host is not None and base.host is not None
        times, was = variant.host.latency_ms, base.host.latency_ms
        smaller = round(base.size_bytes / variant.size_bytes, 2)
        accuracy = round(100 * variant.accuracy, 2) if known and variant.accuracy is not None else None
        speed = round(was.p50 / times.p50, 2)
        figures = [accuracy, round(times.p50, 4), round(times.p99, 4), speed]
        rows.append([case, name, published.get(name), round(variant.size_bytes / 1e6, 3), smaller, *figures])
    return rows


def mnist(seconds: int, epochs: int) -> list[list]:
    """PyTorch → ONNX → INT8, PyTorch → TFLite, Keras → TFLite."""
    file, _ = trained("mnist_cnn", mnist_cnn, "mnist", epochs, HOME, MNIST, 0.98)
    model = uploaded(file, MNIST)
    published = {"baseline": "1.3 MB, 0.023 ms", "dynamic_int8": "450 kB, 0.043 ms"}
    techniques = ["ptq_int8", "dynamic_int8"]
    rows = rows_of("MNIST CNN, PyTorch to ONNX", ran(model, "mnist", techniques, seconds)[0], published)
    found, _ = ran(model, "mnist", ["ptq_int8", "fp16"], seconds, "litert")
    rows += rows_of("MNIST CNN, PyTorch to TFLite", found, {})
    found, _ = ran(uploaded(keras_cnn(epochs), UNIT), "mnist", ["ptq_int8", "fp16"], seconds)
    published = {"ptq_int8": "27 kB, 0.025 ms", "fp16": "47 kB"}
    return rows + rows_of("MNIST CNN, Keras to TFLite", found, published)


def cifar(seconds: int, epochs: int) -> list[list]:
    """PyTorch → ONNX → pruned, in ONNX Runtime and in OpenCV."""
    file, _ = trained("cifar_cnn", cifar_cnn, "cifar10", epochs, HOME, CIFAR, 0.65)
    techniques = ["prune_unstructured", "prune_structured"]
    variants, folder = ran(uploaded(file, CIFAR), "cifar10", techniques, seconds)
    published = {"baseline": "8.37 MB, 3.29 ms", "prune_unstructured@0.5": "8.37 MB, 3.10 ms"}
    kept = {name: v for name, v in variants.items() if "iterative" not in name and v.status == "done"}
    rows = rows_of("CIFAR-10 CNN, ONNX Runtime", kept, published)
    return rows + _in_opencv("CIFAR-10 CNN, OpenCV", kept, folder)


def _in_opencv(case: str, variants: dict[str, Variant], folder: Path) -> list[list]:
    """Times the same files in OpenCV; says where it refuses one, and how far its scores are apart."""
    one = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    nets, rows = {}, []
    for name, variant in variants.items():
        path = folder / variant.artifacts[0].opened
        try:
            nets[name] = OpenCV(path)
            ours, theirs = nets[name].predict(one), open_model(path).predict(one)
        except NotTaken as error:
            rows.append([case, name, str(error)] + [None] * 6)
            continue
        if not np.allclose(ours, theirs, atol=1e-4 * max(1.0, float(np.abs(theirs).max()))):
            raise SystemExit(f"{name} answers otherwise in OpenCV: {np.abs(ours - theirs).max():.2g} apart")
    times = measure.time_interleaved(
        {n: (lambda m=m: m.run_once(one)) for n, m in nets.items()}, TIMED_S, ROUNDS
    )
    base, first = variants["baseline"], measure.percentiles(times["baseline"])
    for name, found in times.items():
        p, size = measure.percentiles(found), variants[name].size_bytes
        smaller, speed = round(base.size_bytes / size, 2), round(first["p50"] / p["p50"], 2)
        figures = [round(p["p50"], 4), round(p["p99"], 4), speed]
        rows.append([case, name, None, round(size / 1e6, 3), smaller, None, *figures])
    return rows


def mobilenet(seconds: int) -> list[list]:
    """MobileNetV2 at 224: sizes, times of one image, images a second in batches, on one thread and two."""
    size = {"height": 224, "width": 224, **IMAGENET}
    model = uploaded(random_network("mobilenet_v2"), size).model_copy(update={"input_shape": (224, 224, 3)})
    variants, folder = ran(model, str(few_pictures()), ["ptq_int8", "dynamic_int8"], seconds)
    published = {"baseline": "13.6 MB, 3.25 ms", "ptq_int8": "3.6 MB, about 1.5 ms (estimated)"}
    case = "MobileNetV2 at 224, random weights"
    rows = rows_of(case, variants, published, known=False)
    images = np.random.default_rng(0).normal(size=(max(BATCHES), 3, 224, 224)).astype(np.float32)
    for threads in (1, 2):
        models = {
            n: open_model(folder / v.artifacts[0].opened, threads)
            for n, v in variants.items()
            if v.status == "done"
        }
        for batch in BATCHES:
            calls = {
                n: (lambda m=m, x=images[:batch]: m.session.run(m.outputs, {m.input_name: x}))
                for n, m in models.items()
            }
            times = measure.time_interleaved(calls, TIMED_S, ROUNDS)
            each = {n: float(np.median(found)) / batch for n, found in times.items()}
            for name in each:
                rate = f"{1000 / each[name]:.0f} images/s"
                step = f"{name}, batch {batch}, threads {threads}: {rate}"
                speed = round(each["baseline"] / each[name], 2)
                rows.append([case, step, None, None, None, None, round(each[name], 3), None, speed])
    return rows


def targets(rows: list[list]) -> list[dict]:
    """Returns the published claims that can be compared, with ours."""

    def row(case: str, step: str) -> list:
        return next((r for r in rows if r[0].startswith(case) and r[1] == step), [None] * len(COLUMNS))

    def at_least(target: str, figure: float | None, least: float, unit: str) -> dict:
        shown = "no figure" if figure is None else f"{figure:.2f} {unit}"
        return {"target": target, "figure": shown, "met": figure is not None and figure >= least}

    dynamic, static = (row("MNIST CNN, PyTorch to ONNX", s) for s in ("dynamic_int8", "ptq_int8"))
    half = row("CIFAR-10 CNN, ONNX", "prune_structured@0.5")
    mobile, tflite = row("MobileNetV2", "ptq_int8"), row("MNIST CNN, Keras", "ptq_int8")
    said = "times smaller"
    return [
        at_least("MNIST CNN, dynamic INT8: 2.9 times smaller, as published", dynamic[4], 2.85, said),
        at_least(
            "MNIST CNN, INT8 is not slower than float (published: 1.9 times slower)", static[8], 1.0, "times"
        ),
        at_least(
            "MNIST CNN, Keras to INT8: 27 kB or less",
            27 / (1000 * tflite[3]) if tflite[3] else None,
            1.0,
            "times as small as that",
        ),
        at_least("CIFAR-10 CNN, pruned: smaller (published: 8.37 MB before and after)", half[4], 1.5, said),
        at_least("CIFAR-10 CNN, pruned: 1.06 times as fast, as published", half[8], 1.06, "times"),
        at_least(
            "MobileNetV2 at 224, INT8: 3.7 times smaller, as published (3.6 MB of 13.6)", mobile[4], 3.7, said
        ),
        at_least(
            "MobileNetV2 at 224, INT8: 2.2 times as fast, as published estimated", mobile[8], 2.2, "times"
        ),
    ]


def main() -> None:
    """Runs the cases and writes results/published_cases.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time budget of each run")
    parser.add_argument("--epochs", type=int, default=4, help="of training the two small networks, once")
    parser.add_argument("--train-only", action="store_true")
    asked = parser.parse_args()
    if asked.train_only:
        trained("mnist_cnn", mnist_cnn, "mnist", asked.epochs, HOME, MNIST, 0.98)
        keras_cnn(asked.epochs)
        trained("cifar_cnn", cifar_cnn, "cifar10", 3 * asked.epochs, HOME, CIFAR, 0.65)
        return
    load = round(os.getloadavg()[0], 2)
    rows = (
        mnist(asked.seconds, asked.epochs) + cifar(asked.seconds, 3 * asked.epochs) + mobilenet(asked.seconds)
    )
    title = "Published walk-throughs, done with this tool"
    more = {"seed": 0, "time_budget_s": asked.seconds, "load_before": load}
    print(record.write("published_cases", title, COLUMNS, rows, targets(rows), **more).read_text())


if __name__ == "__main__":
    main()
