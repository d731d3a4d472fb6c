"""The command line: every wrong word is one sentence on the error stream, exit code 1 or 2, and nothing is
left half-written.
"""

import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.cli import main
from engine.run import jobs
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Run
from estimator.devices import all_devices

OPTIMIZE = ["optimize", "digits/pytorch/small", "--dataset", "digits", "--device", "raspberry_pi_4"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(workspace, capsys, monkeypatch):
    """Runs the command line in this process, where no run may start; returns exit code, output and errors."""
    monkeypatch.setattr(jobs, "start", lambda *given: pytest.fail("a run was started"))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["engine", *words])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return run


def is_one_sentence(err: str) -> bool:
    return len(err.strip().splitlines()) == 1 and len(err) > 20 and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimize", "nothing.onnx", "--device", "raspberry_pi_4"], "nothing.onnx"),
        (
            ["optimize", "digits/pytorch/huge", "--device", "raspberry_pi_4"],
            "no shipped model of that id: give",
        ),
        ([*OPTIMIZE[:2], "--dataset", "dogs", "--device", "raspberry_pi_4"], "No data set is called 'dogs'"),
        ([*OPTIMIZE[:4], "--device", "toaster"], "No device is called 'toaster'"),
        (OPTIMIZE[:4], "--device"),
        ([*OPTIMIZE, "--goal", "beauty"], "No goal is called 'beauty'"),
        ([*OPTIMIZE, "--techniques", "magic"], "No technique is called 'magic'"),
        ([*OPTIMIZE, "--techniques", ""], "choose at least one"),
        ([*OPTIMIZE, "--techniques", " , "], "choose at least one"),
        *[
            ([*OPTIMIZE, option, value], says)
            for option in (
                "--max-accuracy-drop",
                "--max-size-mb",
                "--max-latency-ms",
                "--max-memory-mb",
                "--max-energy-mj",
                "--min-recall",
            )
            for value, says in (
                ("-1", "0 or more"),
                ("nan", "0 or more"),
                ("inf", "0 or more"),
                ("much", "not a number"),
            )
        ],
        ([*OPTIMIZE, "--min-recall", "1.5"], "min_recall"),
        ([*OPTIMIZE, "--time-budget", "1"], "10 to 86400"),
        ([*OPTIMIZE, "--time-budget", "soon"], "not a number"),
        ([*OPTIMIZE, "--seed", "-3"], "seed"),
        ([*OPTIMIZE, "--seed", "1e12"], "seed"),
        ([*OPTIMIZE, "--seed", "1.5"], "seed"),
        ([*OPTIMIZE, "--max-sise-mb", "1"], "--max-sise-mb"),
        (["optimise"], "optimise"),
        (["show", "unknown"], "No run has the id 'unknown'"),
        (["show", "../../etc"], "No run has the id"),
        (["package", "unknown", "fp16", "--output", "x.zip"], "No run has the id 'unknown'"),
        (["package", "unknown", "fp16"], "--output"),
        (["inspect", "nothing.pt"], "nothing.pt"),
        (["inspect"], "MODEL"),
        (["estimate", "nothing.onnx"], "nothing.onnx"),
        *[
            (["estimate", "digits/pytorch/small", option, value], says)
            for option, value, says in (
                ("--device", "toaster", "No device is called 'toaster'"),
                ("--threads", "0", "0 threads"),
                ("--threads", "x", "--threads"),
                ("--precision", "int3", "No precision is called 'int3'"),
                ("--runtime", "foo", "No runtime is called 'foo'"),
            )
        ],
        (["calibrate", "toaster", "result.json"], "toaster"),
        (["calibrate", "raspberry_pi_4", "nothing.json"], "nothing.json"),
    ],
)
def test_wrong_words_are_one_sentence_and_code_1(command, workspace, words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*words)
    assert (code, out) == (1, ""), err
    assert is_one_sentence(err) and says in err
    assert workspace.runs() == [] and os.listdir(workspace.home / "runs") == []
    assert not (tmp_path / "x.zip").exists()


def test_a_file_as_output_folder_is_refused_before_anything_runs(command, workspace, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code, _, err = command(*OPTIMIZE, "--output", str(tmp_path / "taken"))
    assert code == 1 and "is a file" in err and is_one_sentence(err)
    assert (tmp_path / "taken").read_text() == "mine" and workspace.runs() == []


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_runs(command, workspace):
    code, _, err = command(*OPTIMIZE, "--output", "/proc/edgewise")
    assert code in (1, 2) and is_one_sentence(err)
    assert workspace.runs() == []


def test_a_text_that_is_no_model_is_one_sentence(command, tmp_path):
    (tmp_path / "poem.onnx").write_text("Shall I compare thee to a summer's day?")
    code, _, err = command("optimize", str(tmp_path / "poem.onnx"), "--device", "raspberry_pi_4")
    assert code == 1 and is_one_sentence(err)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        '{"models": []}',
        '{"schema_version": 1, "device": "raspberry_pi_4", "models": [{}]}',
    ],
)
def test_a_benchmark_result_that_is_none_is_one_sentence(command, workspace, tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    before = sorted(os.listdir(workspace.home))
    code, _, err = command("calibrate", "raspberry_pi_4", str(tmp_path / "result.json"))
    assert code == 1 and is_one_sentence(err)
    assert sorted(os.listdir(workspace.home)) == before


def test_a_later_run_is_one_sentence_and_an_older_one_is_shown(command, workspace, asked):
    run_id = workspace.create(asked())
    path = workspace.folder(run_id) / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 9}))
    code, _, err = command("show", run_id)
    assert code == 1 and "schema 9" in err and is_one_sentence(err)
    assert command("runs")[0] == 0
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    assert command("show", run_id)[0] == 0


def process(*words: str, home: Path, **limits) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "engine", *words],
        cwd=ROOT,
        env=os.environ | {"EDGEWISE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        **limits,
    )


@pytest.mark.parametrize("words", [["runs"], OPTIMIZE, ["show", "x"]])
def test_a_home_that_cannot_be_written_is_one_sentence(words):
    done = process(*words, home=Path("/proc/edgewise"))
    assert (
        done.returncode in (1, 2)
        and is_one_sentence(done.stderr)
        and "EDGEWISE_HOME" in done.stderr
        and not done.stdout
    )


@pytest.mark.parametrize("limit", [100, 20_000])
def test_a_full_disk_is_one_sentence_and_no_run(tmp_path, limit):
    if limit > 10_000:
        Workspace(tmp_path / "home")  # the index is there already, what the run writes is what meets the end
        limit = 400
    done = process(
        *OPTIMIZE,
        home=tmp_path / "home",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode in (1, 2) and is_one_sentence(done.stderr) and not done.stdout, done.stderr
    assert os.listdir(tmp_path / "home" / "runs") == []


@pytest.mark.parametrize(
    ("verb", "keys"),
    [
        ("devices", all_devices()),
        ("techniques", TECHNIQUES),
        ("datasets", ["digits", "mnist"]),
        ("models", ["digits/pytorch/small"]),
    ],
)
def test_lists_come_as_text_and_as_json(command, verb, keys):
    code, out, _ = command(verb)
    assert code == 0 and all(key in out for key in keys)
    code, out, _ = command(verb, "--json")
    assert code == 0 and set(keys) <= set(json.loads(out))


def test_version(command):
    code, out, _ = command("--version")
    assert code == 0 and re.fullmatch(r"edgewise \d+\.\d+\.\d+\n", out)


def test_inspect_says_what_a_model_is(command):
    code, out, _ = command("inspect", "digits/pytorch/small", "--json")
    found = json.loads(out)
    assert code == 0 and found["parameters"] == 242_218 + 192 and found["input_shape"] == [28, 28, 1]


def test_show_prints_what_json_holds(command, digits_run, monkeypatch):
    monkeypatch.setenv("EDGEWISE_HOME", str(digits_run.workspace.home))
    code, out, _ = command("show", digits_run.id, "--json")
    assert code == 0 and Run.model_validate_json(out) == digits_run.run
    found = json.loads(out)
    assert {"id", "experiment", "seconds", "peak_memory_bytes", "variants", "recommendation"} <= set(found)
    assert found["variants"][0]["id"] == "baseline"
    code, out, _ = command("show", digits_run.id)
    assert (
        code == 0
        and all(v.id in out for v in digits_run.run.variants)
        and f"Recommended: {digits_run.run.recommendation.winner}" in out
    )
    code, out, _ = command("runs", "--json")
    assert code == 0 and json.loads(out)[0]["id"] == digits_run.id


def test_package_writes_a_verified_zip_or_nothing(command, digits_run, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEWISE_HOME", str(digits_run.workspace.home))
    code, out, err = command(
        "package", digits_run.id, "ptq_int8", "--output", str(tmp_path / "new" / "it.zip"), "--json"
    )
    assert code == 0, err
    assert json.loads(out)["bytes"] == (tmp_path / "new" / "it.zip").stat().st_size > 100_000
    both = tmp_path / "new" / "both.zip"
    code, _, err = command("package", digits_run.id, "ptq_int8", "baseline", "--output", str(both))
    assert code == 0, err
    with zipfile.ZipFile(both) as archive, zipfile.ZipFile(tmp_path / "new" / "it.zip") as one:
        assert archive.read("ptq-int8/SHA256SUMS") == one.read("SHA256SUMS")
        assert {name.split("/")[0] for name in archive.namelist()} == {"README.md", "ptq-int8", "baseline"}
        assert "| `baseline` | Raspberry Pi 4 | baseline |" in archive.read("README.md").decode()
    code, _, err = command(
        *("package", digits_run.id, "ptq_int8", "--device", "raspberry_pi_4", "--device", "jetson_orin_nano"),
        *("--output", str(both)),
    )
    assert code == 0, err
    with zipfile.ZipFile(both) as archive:
        facts = json.loads(archive.read("ptq-int8-for-jetson-orin-nano/metadata.json"))
        assert facts["device"] == "jetson_orin_nano" and facts["predicted"]
        assert "ptq-int8-for-jetson-orin-nano/build_engine.sh" in archive.namelist()
        assert "# 1 variant for Raspberry Pi 4, Jetson Orin Nano" in archive.read("README.md").decode()
    code, _, err = command("package", digits_run.id, "ptq_int9", "--output", str(tmp_path / "no.zip"))
    assert (
        code == 1
        and "has no variant 'ptq_int9'" in err
        and is_one_sentence(err)
        and not (tmp_path / "no.zip").exists()
    )
    code, _, err = command("package", digits_run.id, "fp16", "--output", "/proc/no/it.zip")
    assert code in (1, 2) and is_one_sentence(err)


@pytest.mark.slow
def test_optimize_prints_one_object_and_fills_the_output_folder(tmp_path):
    done = process(
        *OPTIMIZE,
        "--techniques",
        "fp16,ptq_int8",
        "--max-size-mb",
        "0.3",
        "--goal",
        "size",
        "--time-budget",
        "10",
        "--output",
        str(tmp_path / "out"),
        "--json",
        home=tmp_path / "home",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [v["id"] for v in found["variants"]] == ["baseline", "ptq_int8", "fp16"]
    assert [v["admissible"] for v in found["variants"]] == ["no", "yes", "no"]
    assert found["recommendation"]["winner"] == "ptq_int8" and found["recommendation"]["binding"] in (
        None,
        "max_size_mb",
    )
    assert found["seconds"] > 0 and 100_000_000 < found["peak_memory_bytes"] < 1_000_000_000
    for variant in found["variants"]:
        assert (tmp_path / "out" / variant["artifacts"][0]["path"]).stat().st_size == variant["size_bytes"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["id"] == found["id"]


def test_all_described_devices_are_listed_and_can_be_asked_for(command):
    code, out, _ = command("devices", "--json")
    assert code == 0 and list(json.loads(out)) == list(all_devices()) and len(json.loads(out)) >= 14
    code, _, err = command(*OPTIMIZE[:4], "--device", "rk3588", "--techniques", "magic")
    assert code == 1 and "magic" in err  # the device was taken
