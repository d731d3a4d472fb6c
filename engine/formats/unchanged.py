"""Is a model file still the one that was checked?"""

from pathlib import Path

from engine.errors import BadInput
from engine.vocabulary import ModelFile
from models.catalog import sha256_of


def unchanged(model: ModelFile) -> Path:
    """Returns the path of a checked file. Raises BadInput when it was changed since it was checked."""
    path = Path(model.path)
    if sha256_of(path) != model.sha256:
        raise BadInput(f"The file of {model.name} was changed since it was checked: add it again.")
    return path
