"""A recorded run, for tests of what is asked about a run when it has ended."""

import shutil
from pathlib import Path

import pytest

from engine.wall import sandbox

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def recorded(workspace, monkeypatch):
    """Returns the function that puts the run "recorded" into the workspace, whose files `module` takes as
    whole, and whose child answers `answer` for each variant in the request's `field`; that returns what the
    child was asked for, a list each time.
    """

    def put(module, field: str, answer) -> list[list[str]]:
        shutil.copytree(RECORDED, workspace.home / "runs" / "recorded")
        workspace.rebuild_index()
        asked: list[list[str]] = []

        def child(name, request, *rest):
            asked.append(list(request[field]))
            return dict.fromkeys(request[field], answer)

        monkeypatch.setattr(module, "check_files", lambda variant, folder: None)
        monkeypatch.setattr(sandbox, "run", child)
        return asked

    return put
