"""What an exported package says of itself, for a check where no run and no framework is at hand."""

import hashlib
import json
import zipfile
from pathlib import Path

from pydantic import BaseModel, Field

from engine.errors import BadInput
from engine.store.zips import open_checked, read_entry
from engine.vocabulary import Estimate, Variant, parse

NAMES = ("metadata.json", "SHA256SUMS", "infer.py")
MOST_FACTS, MOST_MODEL = 20_000_000, 1_000_000_000  # bytes


class File(BaseModel):
    """The model's file in a package."""

    file: str = Field(max_length=100)
    sha256: str


class Accuracy(BaseModel):
    """What was measured of it where the package was made."""

    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    accuracy_drop_pp: float | None = None
    p_value: float | None = None
    test_images: int | None = None


class Facts(BaseModel):
    """Of `metadata.json` what a check looks at."""

    variant: str = Field(max_length=200)
    device: str = Field(max_length=100)
    artifact: File
    measured: Accuracy
    predicted: Estimate | None


def is_package(path: Path) -> bool:
    """Tells whether a file is the package of one variant."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with open_checked(path) as archive:
        return set(NAMES) <= set(archive.namelist())


def read(path: Path) -> tuple[Variant, str]:
    """Returns what is known of a package's variant, and the device that it is for. Raises BadInput where it
    was changed or can't be read.
    """
    with open_checked(path) as archive:
        try:
            facts = parse(Facts, json.loads(read_entry(archive, NAMES[0], MOST_FACTS)))
        except (ValueError, RecursionError):
            raise BadInput(f"metadata.json of {path.name} can't be read: export the package again.") from None
        model = read_entry(archive, facts.artifact.file, MOST_MODEL)
    if hashlib.sha256(model).hexdigest() != facts.artifact.sha256:
        raise BadInput(
            f"The model in {path.name} is not the one that was measured: export the package again."
        )
    variant = Variant(
        id=facts.variant,
        technique="",
        status="done",
        size_bytes=len(model),
        estimates={facts.device: facts.predicted} if facts.predicted else {},
        **facts.measured.model_dump(),
    )
    return variant, facts.device
