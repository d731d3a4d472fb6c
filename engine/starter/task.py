"""The child that trains a starter model, and the one that turns it into Keras: `python -m
engine.starter.task`.

Two processes, so that none holds both frameworks. Only the training, validation and calibration parts are
opened.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine import datasets
from engine.datasets import DATASETS, Part
from engine.errors import EdgewiseError
from engine.starter.requests import Request, ToKeras, Train
from engine.wall.child import serve

Send = Callable[[dict[str, Any]], None]
SIDE_PX = 64  # a defect or a shape is still seen, and two cores train on hundreds of such images in a minute
GREY_WITHIN = 4  # of 255: what JPEG makes of a grey picture that was stored in colour
GREY_TRIED = 500
LEAST_AGREEMENT = 0.99


def train(request: Train, send: Send) -> dict[str, Any]:
    """Trains in PyTorch and writes `weights.safetensors` and the validation logits; returns Trained."""
    from engine.starter.training import Starter
    from models.catalog import CATALOG

    dataset, home, folder = request.dataset, request.home, request.folder
    shape = image_shape(dataset, home)
    datasets.prepare(
        dataset, home, lambda fraction, text: send(_progress(0.0, None, None, text)), image_shape=shape
    )
    meta = datasets.describe(dataset, home, shape)
    parts = datasets.load(dataset, home, ("train", "validation"), image_shape=shape)
    origin, classes = CATALOG[request.origin], meta["classes"]
    preprocessing = {
        "height": shape[0],
        "width": shape[1],
        "color": "grey" if shape[2] == 1 else "rgb",
        "layout": "NCHW",
        "scale": 1 / 255,
        "mean": [0.0] * shape[2],
        "std": [1.0] * shape[2],
    }
    starter = Starter(
        origin,
        len(classes),
        preprocessing,
        parts["train"],
        parts["validation"],
        request.mirror,
        request.seed,
    )

    def tell(now) -> None:
        send(
            _progress(
                now.fraction,
                now.remaining_s,
                now.accuracy,
                f"{now.accuracy:.1%} of the validation images are right so far",
            )
        )

    starter.fit(request.seconds, tell)
    starter.save(folder / "weights.safetensors")
    np.save(folder / "logits.npy", starter.logits())
    return {
        "architecture": origin.architecture,
        "input_shape": list(shape),
        "classes": classes,
        "preprocessing": preprocessing,
        "layers": sum(value.ndim in (2, 4) for value in starter.network.state_dict().values()),
        "parameters": sum(p.numel() for p in starter.network.parameters()),
        "epochs": starter.epochs,
        "steps": starter.steps,
        "validation_accuracy": starter.best_accuracy,
        "validation_images": len(starter.validation_labels),
        "class_counts": meta["class_counts"]["train"],
    }


def _progress(fraction: float, remaining_s: float | None, accuracy: float | None, text: str) -> dict:
    return {
        "kind": "training",
        "fraction": fraction,
        "remaining_s": remaining_s,
        "accuracy": accuracy,
        "text": text,
    }


def image_shape(dataset: str, home: Path) -> tuple[int, int, int]:
    """Returns the image size of a starter: a preset's own, else 64x64, grey where no picture has a colour."""
    if dataset in DATASETS:
        return tuple(DATASETS[dataset].image_shape)
    part = datasets.load(dataset, home, ("train",), limit=GREY_TRIED)["train"]
    return (SIDE_PX, SIDE_PX, 1 if is_grey(part) else 3)


def is_grey(part: Part) -> bool:
    """Tells whether red, green and blue are as good as equal in every image."""
    return all(
        np.ptp(np.asarray(image).astype(np.int16), axis=-1).max() <= GREY_WITHIN for image in part.images
    )


def to_keras(request: ToKeras, send: Send) -> dict[str, Any]:
    """Takes the trained weights over into the Keras twin and writes `model.keras`; returns the share of equal
    answers.

    Raises EdgewiseError when the twin answers otherwise.
    """
    import os

    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    from safetensors.numpy import load_file

    from engine.device.preprocessing import preprocess
    from models.keras import build, take_over

    folder, trained, shape = request.folder, request.trained, request.trained.input_shape
    model = build(trained.architecture, shape, len(trained.classes))
    take_over(model, load_file(folder / "weights.safetensors"))
    wanted = np.load(folder / "logits.npy").argmax(1)
    parts = datasets.load(request.dataset, request.home, ("validation",), image_shape=shape)
    images = parts["validation"].images[: len(wanted)]
    answers = model.predict(
        preprocess(np.asarray(images), trained.preprocessing.model_dump() | {"layout": "NHWC"}),
        batch_size=100,
        verbose=0,
    )
    agreement = float((answers.argmax(1) == wanted).mean())
    if agreement < LEAST_AGREEMENT:
        raise EdgewiseError(f"the Keras twin agrees on only {agreement:.1%} of the validation images")
    model.save(folder / "model.keras")
    return {"agreement": agreement}


TASKS: dict[str, tuple[type[Request], Callable[[Any, Send], dict[str, Any]]]] = {
    "train": (Train, train),
    "to_keras": (ToKeras, to_keras),
}


def answer(plain: dict[str, Any], send: Send) -> dict[str, Any]:
    """Answers one request, given as plain data."""
    kind, task = TASKS[plain["task"]]
    return task(kind.model_validate(plain), send)


if __name__ == "__main__":
    serve(answer)
