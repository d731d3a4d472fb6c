"""What the tests of formats share: a workspace with the digits prepared."""

import pytest

from engine import datasets


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    datasets.prepare("digits", folder)
    return folder


@pytest.fixture(scope="session")
def look(home):
    """Looks into a file as the child does, in this process."""
    from engine.formats import behind_wall
    from engine.vocabulary import ModelFile

    def look(path, dataset=None, architecture=None, home=home) -> ModelFile:
        request = {
            "path": str(path),
            "name": path.name,
            "dataset": dataset,
            "architecture": architecture,
            "home": str(home),
        }
        return ModelFile.model_validate(behind_wall.look(request, None))

    return look
