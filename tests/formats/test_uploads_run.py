"""Real uploads go the whole way: post-training techniques on those that are float image classifiers, a
sentence for the rest.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.formats.test_uploads import EXPECTED, KNOWN, UPLOADS, find

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UPLOADS.is_dir(), reason="set EDGEWISE_UPLOADS to the folder of real uploads"),
]
FLOAT = [end for end, facts in EXPECTED.items() if facts[2] != "inspect"]
TECHNIQUES = "ptq_int8,ptq_int4"


def engine(tmp_path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "engine", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "EDGEWISE_HOME": str(tmp_path)},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads-run")


@pytest.mark.parametrize("end", FLOAT)
def test_post_training_techniques_run_on_a_float_upload(end, home):
    """With its data set where that is known, else on generated images, where accuracy stays unknown."""
    dataset = KNOWN[end][0] if end in KNOWN else None
    done = engine(
        home,
        "optimize",
        str(find(end)),
        "--device",
        "raspberry_pi_4",
        "--techniques",
        TECHNIQUES,
        "--time-budget",
        "10",
        "--json",
        *(["--dataset", dataset] if dataset else []),
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    variants = {v["id"]: v for v in run["variants"]}
    done = {name for name, v in variants.items() if v["status"] == "done"}
    assert done >= {"baseline", "ptq_int8", "ptq_int4"}, {
        name: (v["status"], v["reason"]) for name, v in variants.items()
    }
    base = variants["baseline"]
    if dataset:
        assert base["accuracy"] >= KNOWN[end][1]
        assert variants["ptq_int8"]["accuracy"] > base["accuracy"] - 0.02
    assert variants["ptq_int8"]["size_bytes"] < 0.6 * base["size_bytes"] and run["recommendation"]["winner"]


@pytest.mark.parametrize("end", [end for end in EXPECTED if end not in FLOAT])
def test_a_quantized_upload_is_inspected_and_estimated_only(end, home):
    refused = engine(home, "optimize", str(find(end)), "--device", "raspberry_pi_4", "--json")
    assert (
        refused.returncode == 1
        and "inspected" in refused.stderr
        and len(refused.stderr.strip().splitlines()) == 1
    )
    seen = engine(home, "inspect", str(find(end)), "--json")
    assert (
        seen.returncode == 0
        and json.loads(seen.stdout)["reach"] == "inspect"
        and json.loads(seen.stdout)["warnings"]
    )
    told = engine(home, "estimate", str(find(end)), "--device", "coral_dev_board", "--json")
    assert told.returncode == 0 or ("edgetpu" in end and told.returncode == 1), told.stderr
