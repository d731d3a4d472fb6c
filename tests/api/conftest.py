"""The API over a workspace of its own, with a handmade finished run."""

import sys
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.http import ROUTES
from engine.store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pages"))  # for `seed`, which no package holds


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty workspace that the API uses too."""
    monkeypatch.setenv("EDGEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGEWISE_PUBLIC", raising=False)
    monkeypatch.delenv("EDGEWISE_API_KEY", raising=False)
    return Workspace()


@pytest.fixture
def client(home):
    """Asks the API as a program would, by its whole addresses."""
    return TestClient(Starlette(routes=ROUTES), raise_server_exceptions=False)


@pytest.fixture
def done(home):
    """The id of a finished run."""
    import seed

    return seed.finished(home)


@pytest.fixture
def live(home):
    """The address at which the API answers for as long as the test lasts."""
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=ROUTES), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
