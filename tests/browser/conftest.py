"""A live server with a workspace of its own, and a real Chromium."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
# Quiet and without a sandbox of its own: tests run as root in a container, and need nothing from outside.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# The server as `streamlit run` starts it; on SIGUSR1 it writes which modules it holds.
PROGRAM = """
import json, os, signal, sys
def dump(*_):
    draft = os.environ["MODULES"] + ".part"
    with open(draft, "w") as file:
        json.dump(sorted(sys.modules), file)
    os.replace(draft, os.environ["MODULES"])
signal.signal(signal.SIGUSR1, dump)
sys.argv = ["streamlit", "run", "server.py", "--server.headless", "true", "--server.address", "127.0.0.1", "--server.port", sys.argv[1]]
from streamlit.web.cli import main
main()
"""


@dataclass
class Server:
    """A live server: where it answers, where it keeps its runs, and its process."""

    url: str
    home: Path
    process: subprocess.Popen
    modules_file: Path

    def modules(self) -> set[str]:
        """Returns the modules that the live server holds."""
        self.modules_file.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.time() + 10
        while not self.modules_file.exists():
            assert time.time() < deadline, "the server did not answer the signal"
            time.sleep(0.05)
        return set(json.loads(self.modules_file.read_text()))


@pytest.fixture
def server(tmp_path):
    """A server of its own for the test, ended with every run that it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home, modules = tmp_path / "home", tmp_path / "modules.json"
    environment = os.environ | {"EDGEWISE_HOME": str(home), "MODULES": str(modules)}
    environment.pop("EDGEWISE_PUBLIC", None)
    with open(tmp_path / "server.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    found = Server(f"http://127.0.0.1:{port}", home, process, modules)
    _wait_for(found, tmp_path / "server.log")
    yield found
    _end_runs(home)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_for(server: Server, log: Path) -> None:
    deadline = time.time() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=2):
                return
        except OSError:
            assert time.time() < deadline and server.process.poll() is None, log.read_text()
            time.sleep(0.2)


def _end_runs(home: Path) -> None:
    from engine.run import jobs
    from engine.store.workspace import Workspace

    if (home / "runs").exists():
        workspace = Workspace(home)
        for row in workspace.runs():
            jobs.cancel(row["id"], workspace)


@pytest.fixture
def browser():
    """Chromium; the test is skipped where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium, then run this test again")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A new page of 1440 by 1000 pixels."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()
