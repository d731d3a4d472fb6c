"""The whole path over HTTP against the server as it is started for people: from the command line, and from
the agent on a device, for which this machine stands in.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from engine.client import Client
from models.catalog import CATALOG
from tests.browser.conftest import server
from tests.conftest import ROOT

__all__ = ["server"]


@pytest.mark.slow
def test_a_model_goes_to_a_server_and_a_package_comes_back(server, tmp_path):
    def asked(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "engine", *words, "--server", server.url],
            cwd=ROOT,
            env=os.environ | {"EDGEWISE_HOME": str(tmp_path / "own")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    model = str(CATALOG["digits/pytorch/small"].weights_path)
    given = ("--dataset", "digits", "--device", "raspberry_pi_4", "--techniques", "ptq_int8", "--json")
    run = json.loads(asked("optimize", model, *given))
    assert [variant["status"] for variant in run["variants"]] == ["done", "done"]
    assert json.loads(asked("runs", "--json"))[0]["winner"] == run["recommendation"]["winner"]
    assert "ptq_int8" in asked("show", run["id"])
    asked("package", run["id"], "ptq_int8", "--output", str(tmp_path / "p.zip"))
    asked("report", run["id"], "--output", str(tmp_path / "report.html"))
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert json.loads(archive.read("metadata.json"))["run"] == run["id"]
    assert "<html" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "own").exists()

    client = Client(server.url)
    measured(server.url, client, run["id"], tmp_path)
    found = client.board(run["id"])
    assert set(found) == {"baseline", "ptq_int8"}
    for one in found.values():
        assert one["reason"] == "" and one["answers"]["same_answers"] == one["answers"]["pictures"] >= 36
        assert [r["latency_ms"]["p50"] > 0 for r in one["rounds"]] == [True] * 3
    assert one["rounds"][0]["machine"]["cores"] == os.cpu_count()


def measured(url: str, client: Client, run: str, folder: Path) -> None:
    """Runs the agent on this machine, with the Python that has the runtime."""
    file = folder / "edgewise_agent.py"
    file.write_bytes(urllib.request.urlopen(f"{url}/api/v1/board/agent.py").read())
    token = client.board_token(run)
    words = [sys.executable, "-I", str(file), "--server", url, "--token", token, "--python", sys.executable]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as lost:
        while not client.board(run) and lost.poll() is None:
            time.sleep(0.1)
        lost.kill()
    assert client.board(run)  # what was sent stays
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not the run's Raspberry Pi 4" in done.stdout and "is no Raspberry Pi 4" in done.stdout
    again = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert again.returncode == 1 and "This token is wrong, used or too old" in again.stderr
