"""Many experiments at once: what a file may say, all checked before any starts, one failure among others."""

import csv
import io
from pathlib import Path

import pytest

from engine import batch
from engine.cli_batch import as_csv, as_markdown, as_text
from engine.errors import BadInput
from engine.run import jobs

GOOD = """
defaults: {dataset: digits, device: raspberry_pi_4, techniques: [fp16], max_size_mb: 2}
experiments:
  - digits/pytorch/small
  - {model: digits/keras/small, device: coral_dev_board, seed: 3}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "batch.yaml").write_text(text)
    return folder / "batch.yaml"


def test_an_experiment_has_the_defaults_that_it_does_not_name(tmp_path):
    first, second = batch.asked_in(written(tmp_path, GOOD), time_budget_s=20)
    assert first == {
        **{"model": "digits/pytorch/small", "dataset": "digits", "device": "raspberry_pi_4"},
        **{"techniques": ["fp16"], "max_size_mb": 2, "time_budget_s": 20},
    }
    assert (second["device"], second["seed"], second["max_size_mb"]) == ("coral_dev_board", 3, 2)


def test_paths_are_relative_to_the_file(tmp_path):
    text = "[{model: mine/a.onnx, dataset: mine/photos.zip, device: raspberry_pi_4}]"
    (asked,) = batch.asked_in(written(tmp_path, text))
    assert asked["model"] == str(tmp_path / "mine/a.onnx")
    assert asked["dataset"] == str(tmp_path / "mine/photos.zip")


def test_a_folder_is_an_experiment_for_each_model_in_it(tmp_path):
    for name in ("b.onnx", "a.keras", "notes.txt"):
        (tmp_path / name).touch()
    found = batch.asked_in(tmp_path, device="raspberry_pi_4", dataset=None)
    assert found == [
        {"device": "raspberry_pi_4", "model": str(tmp_path / name)} for name in ("a.keras", "b.onnx")
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no model file"):
        batch.asked_in(tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "is no YAML"),
        ("!!python/object/apply:os.system ['id']", "is no YAML"),
        ("just words", "is no batch"),
        ("experiments: []", "is no batch"),
        ("[{device: raspberry_pi_4}]", "Experiment 1 names no model"),
        ("[digits/pytorch/small, 7]", "Experiment 2 names no model"),
        ("[{model: digits/pytorch/small, max_size: 1}]", "Experiment 1 asks for 'max_size'"),
    ],
)
def test_what_is_no_batch_is_one_sentence(tmp_path, text, says):
    with pytest.raises(BadInput, match=says):
        batch.asked_in(written(tmp_path, text))


def test_all_are_checked_before_the_first_starts(tmp_path, workspace):
    text = """
- {model: digits/pytorch/small, dataset: digits, device: raspberry_pi_4}
- {model: digits/pytorch/small, dataset: digits, device: toaster}
- {model: gone.onnx, device: raspberry_pi_4}
"""
    with pytest.raises(BadInput) as refused:
        batch.checked(batch.asked_in(written(tmp_path, text)), workspace)
    lines = str(refused.value).splitlines()
    assert [line.split(" (")[0] for line in lines] == ["Experiment 2", "Experiment 3", "Nothing was started."]
    assert workspace.runs() == []


ROW = dict.fromkeys(batch.COLUMNS) | {"model": "=1+1|<b>", "device": "Raspberry Pi 4", "state": "failed"}


def test_names_are_data_in_every_summary():
    row = ROW | {"reason": "it ran out of memory"}
    assert next(csv.DictReader(io.StringIO(as_csv([row]))))["model"] == "'=1+1|<b>"
    assert "\\|\\<b\\>" in as_markdown([row]) and "failed: it ran out of memory" in as_text([row])


@pytest.mark.slow
def test_a_run_that_fails_does_not_stop_the_next(tmp_path, workspace, monkeypatch):
    first, second = batch.checked(batch.asked_in(written(tmp_path, GOOD)), workspace)
    start, lost = jobs.start, []

    def losing(experiment, home):
        run_id = start(experiment, home)
        if not lost:
            lost.append(run_id)
            jobs.cancel(run_id, home)
        return run_id

    monkeypatch.setattr(jobs, "start", losing)
    rows = list(batch.run_all([first, second], workspace, lambda event: None))
    assert [row["state"] for row in rows] == ["cancelled", "done"]
    assert rows[1]["recommended"] and rows[1]["size_bytes"] < 2_000_000
    assert as_text(rows).splitlines()[2].startswith("digits/keras/small")
