"""Packages answer on an emulated Cortex-A72 as on this host. Its time says nothing about a board's, and is
not shown.
"""

import json

import pytest

from engine.errors import BadInput
from engine.store.calibrations import add_calibration
from tests.emulated.arm64 import Board, why_not

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Board:
    if reason := why_not():
        pytest.skip(reason)
    try:
        return Board(tmp_path_factory.mktemp("arm64"))
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["ptq_int8", "ptq_int4@mixed", "hybrid@smallest"])
def test_a_package_answers_there_as_here(board, unpacked, name):
    folder = unpacked(name)
    try:
        board.install(folder / "requirements.txt")
    except OSError as error:
        pytest.skip(str(error))
    done = board.python(folder, "verify.py", "--threads", "1", "--json", "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "found.json").read_text())
    assert found["same_answers"] == found["pictures"] >= 36 and found["worst_difference"] < 1e-3
    assert board.python(folder, "infer.py", "sample.png", "--threads", "1").returncode == 0


def test_an_emulator_s_benchmark_corrects_no_prediction(board, unpacked, workspace):
    folder = unpacked("ptq_int8")
    done = board.python(folder, "benchmark.py", "--runs", "5", "--threads", "1")
    assert done.returncode == 0, done.stderr
    with pytest.raises(BadInput, match="names no board, as an emulator does"):
        add_calibration("raspberry_pi_4", folder / "benchmark-result.json", workspace)
