"""Children of a run are forked from processes that have imported what they need, and make the same files."""

import hashlib
import shutil
import sys

import pytest

from engine.events import Logged
from engine.formats.inspect import inspect_model
from engine.run import optimize, templates
from engine.wall import sandbox
from engine.wall.sandbox import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "reach", "runtime"),
    [
        ("pytorch", "all", None),
        ("keras", "all", None),
        ("pytorch", "post_training", None),
        ("pytorch", "all", "litert"),
    ],
)
@pytest.mark.parametrize("task", ["technique", "timing"])
def test_a_template_has_imported_everything_and_is_safe_to_fork(
    asked, tmp_path, framework, reach, runtime, task
):
    model = inspect_model(f"digits/{framework}/small").model_copy(update={"reach": reach})
    with templates.Templates(asked(model=model, runtime=runtime), tmp_path / "log") as made:
        made.measure()
        template = made.of(task)
        look, limits = {"act": "imported", "modules": template.modules}, Limits(seconds=120)
        found = sandbox.run("tests.wall.misbehaving", look, limits, template=template)
        assert template.why_not == ""
    assert found["missing"] == [] and len(template.modules) >= 4


@pytest.mark.parametrize("task", ["prepare_data", "memory", "profile"])
def test_some_tasks_have_a_process_of_their_own(asked, tmp_path, task):
    with templates.Templates(asked(), tmp_path / "log") as made:
        made.measure()
        assert made.of(task) is None and made.of("technique") is not made.of("timing")


def files(folder) -> dict[str, str]:
    """Returns the hash of every artifact of a run."""
    found = sorted((folder / "artifacts").rglob("*"))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.is_file() and not path.name.endswith(".profile.json")
    }


@pytest.mark.slow
def test_forked_children_make_the_same_bytes_as_fresh_ones(workspace, asked, monkeypatch):
    techniques, made = ["ptq_int8", "fp16", "ptq_int4", "qat_int8"], {}
    folders: list = []
    for how in ("forked", "fresh"):
        if how == "fresh":
            monkeypatch.setattr(templates.Templates, "of", lambda self, task: None)
        run_id, told = workspace.create(asked(techniques=techniques)), []
        folder = workspace.folder(run_id)
        folders.append(folder)
        if how == "fresh":  # how fast it trains here decides on the steps, and is measured anew by each run
            (folder / "cache").mkdir(exist_ok=True)
            shutil.copy(folders[0] / "cache" / "facts.json", folder / "cache")
        optimize.optimize(workspace.experiment(run_id), workspace, run_id, told.append)
        assert [event for event in told if isinstance(event, Logged) and "failed" in event.text] == []
        made[how] = files(folder)
    assert len(made["fresh"]) >= 5
    assert made["forked"] == made["fresh"]
