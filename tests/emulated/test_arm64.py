"""Packages answer on an emulated Cortex-A72 as on this host. Its time says nothing about a board's, and is
not shown.
"""

import zipfile

import pytest

from deploy import emulator, package
from engine.errors import BadInput, EdgewiseError
from engine.formats.inspect import inspect_model
from engine.run import jobs
from engine.store.calibrations import add_calibration
from tests.deploy.test_package import tamper

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> emulator.Board:
    if reason := emulator.why_not():
        pytest.skip(reason)
    try:
        made = emulator.set_up(tmp_path_factory.mktemp("arm64"))
    except OSError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(emulator.VARIABLE, str(made.folder))
        yield made


@pytest.mark.parametrize("name", ["ptq_int8", "ptq_int4@mixed", "hybrid@smallest"])
def test_a_package_of_pytorch_answers_there_as_here(board, digits_run, name):
    built = package.build(digits_run.id, name, digits_run.workspace)
    assert package.emulated_on(built) == "Cortex-A72"


def test_packages_of_keras_answer_there_as_here(board, asked, workspace):
    model = inspect_model("digits/keras/small")
    run_id = jobs.start(asked(model=model, techniques=["ptq_int8", "fp16", "ptq_int4"]), workspace)
    jobs.wait(run_id, workspace)
    made = [v.id for v in workspace.run(run_id).variants if v.status == "done"]
    assert len(made) == 5
    for name in made:
        assert package.emulated_on(package.build(run_id, name, workspace)) == "Cortex-A72"


def test_what_answers_otherwise_there_is_not_offered(board, built, digits_run, tmp_path, monkeypatch):
    with zipfile.ZipFile(built("baseline")) as archive:
        code, requirements = archive.read("model.py").decode(), archive.read("requirements.txt")
    right, wrong = "return np.concatenate(scores)", "return TURN * np.concatenate(scores)"
    turn = "import os\n\nTURN = -1 if os.uname().machine == 'aarch64' else 1\n"
    there = code.replace("import os\n", turn).replace(right, wrong)
    bad = tamper(built("baseline"), tmp_path / "bad.zip", {"model.py": there.encode()})
    start = board.command(board.site(requirements))
    package.verify(bad, digits_run.run.experiment.model)
    with pytest.raises(EdgewiseError, match="on an emulated board: .* is not offered"):
        package.verify(bad, digits_run.run.experiment.model, emulated=start)


def test_an_emulator_s_benchmark_corrects_no_prediction(board, unpacked, workspace):
    folder = unpacked("ptq_int8")
    start = board.command(board.site((folder / "requirements.txt").read_bytes()))
    words = [*start["words"], "benchmark.py", "--runs", "5", "--threads", "1"]
    done = emulator.run(*words, cwd=folder, **start["environment"])
    assert done.returncode == 0, done.stderr
    with pytest.raises(BadInput, match="names no board, as an emulator does"):
        add_calibration("raspberry_pi_4", [folder / "benchmark-result.json"], workspace)
