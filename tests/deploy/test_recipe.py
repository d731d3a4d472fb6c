"""A package's recipe: it can be read, is safe whatever an upload is called, and makes the same file again."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.recipe import recipe, techniques
from engine.run import jobs
from engine.run.plan import pace_path
from engine.store.files import read_json
from engine.store.workspace import Workspace
from engine.vocabulary import Constraints, Pace, Step, parse
from tests.conftest import ROOT

TRAINED = ["qat_int8", "prune_structured", "prune_unstructured", "hybrid", "fit_limits", "distill"]


def constants(text: str) -> dict:
    """Returns what a recipe says, by name, without running it."""
    found = [node for node in ast.parse(text).body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: ast.literal_eval(node.value) for node in found}


def of(digits_run, name: str, **changes) -> str:
    variant = digits_run.variant(name)
    run = digits_run.run.model_copy(update=changes.pop("run", {}))
    stored = next((a for a in variant.artifacts if a.decoded_path), variant.artifacts[0])
    return recipe(run, variant.model_copy(update=changes), stored, digits_run.folder)


def test_it_says_all_that_the_variant_was_made_of(digits_run):
    variant, said = digits_run.variant("hybrid@smallest"), constants(of(digits_run, "hybrid@smallest"))
    model = digits_run.run.experiment.model
    assert (said["VARIANT"], said["MODEL"], said["DATA"]) == (variant.id, "digits/pytorch/small", "digits")
    assert said["FILE_SHA256"] == variant.artifacts[-1].sha256 and said["MODEL_SHA256"] == model.sha256
    assert len(said["DATA_SHA256"]) == 64 and said["VERSIONS"].items() >= variant.versions.items()
    assert said["STEPS"] == [(step.what, step.parameters) for step in variant.steps]
    assert all(" ".join(step.why.split()[:4]) in of(digits_run, variant.id) for step in variant.steps)
    assert Pace(**said["ASKED"]["pace"]).training_s.keys() >= {"hybrid", "distill"}


def test_it_asks_for_the_same_limits(digits_run):
    limits = {"max_latency_ms": 2.0, "max_accuracy_drop_pp": 1.0}
    limits |= {"min_class_recall": 0.9, "recall_class": "8", "cautious": True}
    constraints = parse(Constraints, {k: v for k, v in limits.items() if k != "cautious"})
    experiment = digits_run.run.experiment.model_copy(update={"constraints": constraints, "cautious": True})
    asked = constants(of(digits_run, "fit_limits@int8", run={"experiment": experiment}))["ASKED"]
    assert asked.items() >= limits.items()


def test_what_trains_comes_after_all_that_it_goes_on_from(digits_run):
    asked = {
        name: techniques(digits_run.run, digits_run.variant(name))
        for name in ("baseline", "ptq_int8", "qat_int8", "distill@0.5")
    }
    assert asked == {
        "baseline": ["fp16"],
        "ptq_int8": ["ptq_int8"],
        "qat_int8": ["qat_int8"],
        "distill@0.5": TRAINED,
    }


def test_names_from_an_upload_are_data(digits_run):
    name = '"""\nraise SystemExit("run")\n#'
    model = digits_run.run.experiment.model.model_copy(update={"name": name, "classes": [name] * 10})
    experiment = digits_run.run.experiment.model_copy(update={"model": model, "dataset": f"/home/me/{name}"})
    steps = [Step(what=name, parameters={name: name}, why=name)]
    text = of(digits_run, "fp16", run={"experiment": experiment}, steps=steps)
    said = constants(text)
    assert said["STEPS"] == [(name, {name: name})] and said["FED"]["classes"] == [name] * 10
    assert "/home/me" not in text and said["DATA"] is None and said["NEEDS_DATA"] is True
    calls = [node for node in ast.parse(text).body if isinstance(node, ast.Raise | ast.Expr)]
    assert len(calls) == 1  # its docstring


def made_again(text: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs a recipe in a workspace of its own."""
    (folder / "recipe.py").write_text(text)
    return subprocess.run(
        [sys.executable, "recipe.py", "--workspace", str(folder / "home")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_recipe_of_another_model_is_refused(digits_run, tmp_path):
    text = of(digits_run, "fp16").replace(digits_run.run.experiment.model.sha256, "0" * 64)
    done = made_again(text, tmp_path)
    assert done.returncode == 1 and "is another model than" in done.stderr


@pytest.mark.slow
def test_every_technique_of_pytorch_makes_the_same_files_again(digits_run, tmp_path):
    """One recipe is run, its list of techniques that of the whole run, and all that it made is looked at."""
    text = of(digits_run, "distill@0.5")
    # a longer list stands on several lines
    every = f"'techniques': {digits_run.run.experiment.techniques!r}"
    text, count = re.subn(r"'techniques': \[[^\]]*\]", every, text, count=1)
    assert count == 1
    done = made_again(text, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "distill@0.5 came out the same, byte for byte." in done.stdout
    workspace = Workspace(tmp_path / "home")
    again = workspace.run(workspace.runs()[0]["id"])
    assert sums(again) == sums(digits_run.run)


@pytest.mark.slow
def test_techniques_of_keras_make_the_same_files_again(asked, workspace):
    """One without training, and one with it."""
    from engine.formats.inspect import inspect_model

    chosen = {
        "model": inspect_model("digits/keras/small"),
        "techniques": ["ptq_int8", "qat_int8"],
    }
    first = finished(asked(**chosen), workspace)
    pace = Pace.model_validate(read_json(pace_path(workspace.folder(first.id))))
    second = finished(asked(**chosen, pace=pace), workspace)
    assert sums(first) == sums(second) and len(sums(first)) == 4


def finished(experiment, workspace):
    run_id = jobs.start(experiment, workspace)
    jobs.wait(run_id, workspace)
    return workspace.run(run_id)


def sums(run) -> dict[str, str]:
    """Returns the SHA-256 of each variant's files."""
    return {v.id: [a.sha256 for a in v.artifacts] for v in run.variants}
