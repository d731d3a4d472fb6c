"""What tests of packages share."""

import zipfile
from pathlib import Path

import pytest

from deploy import package


@pytest.fixture(scope="module")
def built(digits_run):
    """Returns the function that builds a variant's zip, once."""
    return lambda name: package.build(digits_run.id, name, digits_run.workspace)


@pytest.fixture
def unpacked(built, tmp_path):
    """Returns the function that unpacks a variant's zip in a clean folder."""

    def unpack(name: str) -> Path:
        folder = tmp_path / "clean"
        with zipfile.ZipFile(built(name)) as archive:
            archive.extractall(folder)
        return folder

    return unpack
