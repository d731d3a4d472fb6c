"""What the tests of packages share."""

from pathlib import Path

import pytest

from deploy import package


@pytest.fixture
def packed(digits_run, tmp_path):
    """Returns the function that unpacks a variant's package for any device."""

    def unpack(name: str, device: str) -> Path:
        run = digits_run.run
        asked = run.experiment.model_copy(update={"device": device})
        run = run.model_copy(update={"experiment": asked})
        files = package.contents(run, digits_run.variant(name), digits_run.folder)
        folder = tmp_path / device
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder

    return unpack
