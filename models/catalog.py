"""The catalog of shipped models, as plain data; imports no framework, so that every front may read it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CATALOG_PATH = FOLDER / "catalog.json"
EXAMPLE_RUN = FOLDER / "example_run.zip"  # as `python -m benchmarks.example_run` makes it


@dataclass(frozen=True)
class ShippedModel:
    """One shipped model.

    `weights` is relative to this folder; `input_shape` is (height, width, channels); `preprocessing` follows
    the schema of `engine/device/preprocessing.py`. The accuracies are fractions, measured once on the trained
    weights: `validation_accuracy` chose the epoch, `test_accuracy` chose nothing. `macs` are multiply-adds
    for one image.
    """

    id: str
    dataset: str
    framework: str
    size: str
    architecture: str
    weights: str
    sha256: str
    preprocessing: dict
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    test_accuracy: float
    test_images: int
    validation_accuracy: float
    parameters: int
    macs: int
    size_bytes: int
    epochs: int
    seed: int
    command: str
    notes: str = ""

    @property
    def weights_path(self) -> Path:
        """The weights' file on this machine."""
        return FOLDER / self.weights


def read_catalog(path: Path = CATALOG_PATH) -> dict[str, ShippedModel]:
    """Read the catalog: model id to ShippedModel, in the file's order."""
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    models = {}
    for entry in entries:
        entry["classes"], entry["input_shape"] = tuple(entry["classes"]), tuple(entry["input_shape"])
        models[entry["id"]] = ShippedModel(**entry)
    return models


def add_to_catalog(model: ShippedModel, path: Path = CATALOG_PATH) -> None:
    """Write `model` into the catalog file, in the place of an older one of the same id."""
    models = read_catalog(path) | {model.id: model}
    ordered = [asdict(models[key]) for key in sorted(models)]
    path.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; a file of any size takes no memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


CATALOG: dict[str, ShippedModel] = read_catalog()
