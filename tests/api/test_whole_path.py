"""The whole path over HTTP, from the command line against the server as it is started for people."""

import json
import os
import subprocess
import sys
import zipfile

import pytest

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
