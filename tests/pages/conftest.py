"""A workspace of its own for every test, and the dashboard opened as a person would find it."""

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))  # for `seed`, which no package holds


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty workspace that the pages use too."""
    from engine.store.workspace import Workspace

    monkeypatch.setenv("EDGEWISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EDGEWISE_PUBLIC", raising=False)
    monkeypatch.chdir(ROOT)
    made = PagesManager.__init__

    def with_navigation(self, *args, **kwargs):
        made(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False  # AppTest forgets before each run that app.py has said so

    monkeypatch.setattr(PagesManager, "__init__", with_navigation)
    return Workspace()


@pytest.fixture
def worker():
    """The number of a living process that leads a group of its own, to stand in for a run's worker."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def open_page(home):
    """Opens a page by its name, with parameters in its URL, and runs it once."""

    def opened(page: str, **parameters: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.query_params.update(parameters)
        app.run()
        if page != "home":
            app.switch_page(f"pages/{page}.py")
            app.query_params.update(parameters)
            app.run()
        return app

    return opened
