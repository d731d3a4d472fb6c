"""Edgewise as a library: what `import engine` offers, and what it costs."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import engine
from engine.errors import BadInput, EdgewiseError

ROOT = Path(__file__).resolve().parents[2]


def test_importing_it_costs_nothing():
    code = "import sys; before = set(sys.modules); import engine; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    found = eval(done.stdout)
    assert "pydantic" not in found and "numpy" not in found and len(found) < 50
    assert [name for name in found if name.startswith("engine")] == ["engine", "engine.version"]


def test_names_are_functions_and_classes_also_beside_modules_of_the_same_name():
    import engine.formats.inspect
    import engine.run.estimate
    import engine.run.optimize

    for name in ("inspect", "optimize", "estimate", "package"):
        assert type(getattr(engine, name)).__name__ == "function", name
    assert set(engine.__all__) <= set(dir(engine))
    assert engine.Experiment.model_fields and engine.Variant.model_fields and engine.Run.model_fields
    with pytest.raises(AttributeError, match="no attribute 'beauty'"):
        _ = engine.beauty


@pytest.mark.slow
def test_the_lines_in_the_readme_run(tmp_path, monkeypatch, capsys, workspace):
    lines = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    assert len([line for line in lines.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(lines, names)
    run, out = names["run"], capsys.readouterr().out
    assert [v.id for v in run.variants] == ["baseline", "ptq_int8", "fp16"]
    assert run.best.id in out and run.path_of(run.best).stat().st_size == run.best.size_bytes
    assert [row["variant"] for row in run.table()] == [v.id for v in run.variants]
    assert all(type(value) in (str, int, float, type(None)) for row in run.table() for value in row.values())
    assert "infer.py" in zipfile.ZipFile(tmp_path / "package.zip").namelist()
    with pytest.raises(ValueError, match="frozen"):
        run.state = "failed"
    with pytest.raises(BadInput, match="no variant 'hybrid'"):
        run.path_of("hybrid")


def test_what_is_wrong_is_one_sentence_before_anything_runs(workspace):
    for asked, words in (
        ({"device": "toaster"}, "No device is called"),
        ({"device": "raspberry_pi_4", "techniques": ["magic"]}, "No technique is called"),
        ({"device": "raspberry_pi_4", "max_sise_mb": 1}, "max_sise_mb"),
        ({"device": "raspberry_pi_4", "dataset": "dogs"}, "No data set is called"),
    ):
        with pytest.raises(BadInput, match=words):
            engine.optimize("digits/pytorch/small", **asked)
    with pytest.raises(BadInput, match=r"nothing\.onnx"):
        engine.inspect("nothing.onnx")
    with pytest.raises(BadInput, match="one device"):
        engine.estimate("digits/pytorch/small", "all")
    assert workspace.runs() == []


def test_a_recorded_run_and_a_file_are_checked_against_limits(workspace, tmp_path):
    shutil.copytree(ROOT / "tests" / "run" / "recorded", workspace.home / "runs" / "recorded")
    workspace.rebuild_index()
    assert engine.check("recorded", max_size_mb=1.0)[1] == []
    (broken,) = engine.check("recorded", variant="baseline", max_size_mb=0.1)[1]
    assert broken.startswith("size")
    with pytest.raises(BadInput, match="for a device"):
        engine.check("digits/pytorch/small", max_size_mb=1.0)
    with pytest.raises(BadInput, match="no variant"):
        engine.check("recorded", variant="nope", max_size_mb=1.0)


def test_a_run_is_exported_into_a_new_folder_and_what_can_not_be_is_one_sentence(workspace, tmp_path):
    shutil.copytree(ROOT / "tests" / "run" / "recorded", workspace.home / "runs" / "recorded")
    workspace.rebuild_index()
    assert engine.export_run("recorded", tmp_path / "new" / "run.zip").stat().st_size > 0
    with pytest.raises(EdgewiseError, match="can't be written"):
        engine.export_run("recorded", tmp_path)
    with pytest.raises(BadInput, match="There is no file"):
        engine.import_run(tmp_path / "nothing.zip")
    with pytest.raises(BadInput, match="Files of the variant"):  # those were not recorded
        engine.import_run(tmp_path / "new" / "run.zip")
