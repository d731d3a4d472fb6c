"""What a child says that it made, checked before it is written down: a child may be hostile, and only the
worker writes variants.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.store.files import read_json
from engine.vocabulary import Variant
from engine.wall.sandbox import Failed
from estimator.types import Profile

MOST_LETTERS = 5_000_000  # every page of the run reads it; that of a deep network has a hundred thousand
# what only the child can know; everything else of a variant is measured or decided by the run
TOLD = (
    *(
        "id",
        "status",
        "reason",
        "usable",
        "seconds",
        "seed",
        "validation_accuracy",
        "sparsity",
        "sparse_bytes",
    ),
    *("artifacts", "steps", "notes", "versions"),
)


def checked(told: dict[str, Any], technique: str, wanted: tuple[str, ...], folder: Path) -> Variant:
    """Returns the variant that a child told of; raises Failed when it is none, not one of the `wanted` ones,
    or names a file outside its own place in the run's `folder`.
    """
    if len(json.dumps(told)) > MOST_LETTERS:
        raise Failed("its process told of a variant at more length than anybody can read")
    fields = {name: told[name] for name in TOLD if name in told}
    try:
        found = Variant.model_validate(fields | {"technique": technique})
    except ValidationError:
        raise Failed("its process told of something that is no variant") from None
    if found.id not in wanted:
        raise Failed("its process told of a variant that is not its own")
    check_files(found, folder)
    is_whole = found.status == "done" and found.artifacts
    return found.model_copy(update={"size_bytes": found.artifacts[0].bytes if is_whole else None})


def check_files(variant: Variant, folder: Path) -> None:
    """Raises Failed when a file of a variant is not there, not as large as told, or not in its own place."""
    place = (folder / "artifacts" / variant.id).resolve()
    for artifact in variant.artifacts:
        path = (folder / artifact.path).resolve()  # a link leads to where it really is
        if not path.is_relative_to(place) or not path.is_file() or path.stat().st_size != artifact.bytes:
            raise Failed("its process told of a file that is not there or not its own")
        if artifact.decoded_path and not (folder / artifact.decoded_path).resolve().is_relative_to(place):
            raise Failed("its process told of a file that is not its own")


def profile_path(variant: Variant, folder: Path) -> Path:
    """Returns where the profile of a variant's file is kept, in the run's `folder`."""
    return (folder / variant.artifacts[0].opened).with_suffix(".profile.json")


def profile_of(variant: Variant, folder: Path) -> Profile | None:
    """Returns what a variant's file holds, as it was found when it was measured; None where the run kept no
    profile of it.
    """
    try:
        return Profile.model_validate(read_json(profile_path(variant, folder))) if variant.artifacts else None
    except ValidationError:
        return None


def holds_int4(variant: Variant, folder: Path) -> bool:
    """Tells whether a variant stores weights in INT4, as its profile says: looking into the file again would
    count as memory of the process that is weighed.
    """
    found = profile_of(variant, folder)
    return found is not None and found.int4_weights
