"""Golden pictures: what a package carries so that a device can show that it answers as this host did.

A run's first task writes them once: pictures of the data set in the model's size, without loss, and some of
them again as larger JPEGs, so that a device's decoder and resizing are tried too. Each artifact that is
measured leaves its scores beside its file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.datasets import Part
from engine.device.image import decode
from engine.device.preprocessing import preprocess
from engine.vocabulary import Preprocessing

FOLDER = "golden"
MOST, LEAST, MOST_BYTES = 32, 4, 3_000_000  # pictures, and what they may take together
JPEGS, LARGER, QUALITY = 4, 1.7, 90
INPUT_BYTES = 150_000  # of preprocessed inputs; one at least


def write_pictures(part: Part, folder: Path) -> None:
    """Writes pictures of a part, of as many classes as there are, as files `00.png`, … and `00.jpg`, …"""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for number, index in enumerate(chosen(part.labels)):
        image = np.asarray(part.images[index])
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        picture.save(folder / f"{number:02}.png", optimize=True)
        written += (folder / f"{number:02}.png").stat().st_size
        if number < JPEGS:
            size = (round(LARGER * picture.width), round(LARGER * picture.height))
            larger = picture.resize(size, Image.Resampling.BICUBIC)
            larger.save(folder / f"{number:02}.jpg", quality=QUALITY)
            written += (folder / f"{number:02}.jpg").stat().st_size
        if written > MOST_BYTES and number + 1 >= LEAST:
            return


def chosen(labels: np.ndarray) -> list[int]:
    """Returns indices into int [n]: the first of each class, then the second, … up to MOST."""
    places: dict[int, int] = {}
    turn = []
    for label in labels.tolist():
        turn.append(places.setdefault(label, 0))
        places[label] += 1
    return [int(i) for i in np.argsort(np.array(turn), kind="stable")[:MOST]]


def names(folder: Path) -> list[str]:
    """Returns the golden pictures' file names, in the order of all arrays."""
    return sorted(path.name for path in folder.glob("[0-9][0-9].*") if path.suffix in (".png", ".jpg"))


def write_scores(
    predict: Callable[[np.ndarray], np.ndarray], how: Preprocessing, folder: Path, target: Path
) -> None:
    """Writes an artifact's scores float32 [n, classes] of the golden pictures to `target`, and, once a run,
    what they are decoded to (`pixels.npy`, uint8) and the first of them preprocessed (`inputs.npy`,
    float32).

    predict: preprocessed float32 images to scores.
    """
    spec: dict[str, Any] = how.model_dump()
    shape = (how.height, how.width, 1 if how.color == "grey" else 3)
    files = names(folder)
    if not files:
        return
    pixels = np.stack([decode((folder / name).read_bytes(), shape, how.fit, how.upright) for name in files])
    inputs = preprocess(pixels, spec)
    if not (folder / "inputs.npy").exists():
        np.save(folder / "pixels.npy", pixels)
        np.save(folder / "inputs.npy", inputs[: max(1, INPUT_BYTES // inputs[0].nbytes)])
    # one at a time, as a device runs them: a runtime may round otherwise in batches
    np.save(target, np.concatenate([predict(inputs[i : i + 1]) for i in range(len(inputs))]))
