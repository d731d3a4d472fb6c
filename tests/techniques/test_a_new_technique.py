"""What a technique costs that nobody has thought of: one file, one line; old runs of it stay readable."""

import numpy as np

from engine import ask
from engine.backends import open_backend
from engine.backends.protocol import QuantSpec
from engine.cli import main
from engine.datasets import Part
from engine.run.plan import expected_seconds
from engine.techniques import TECHNIQUES
from engine.techniques.job import Data, Job
from engine.techniques.technique import Technique
from engine.techniques.workbench import Workbench
from tests.backends.linear import registered


def run(bench: Workbench) -> None:
    with bench.variant("halves") as making:
        making.step("store_fp16", "Half of each number is enough.")
        making.export(bench.network(), QuantSpec("fp16"))


HALVES = Technique(
    id="halves",
    title="Halves",
    precision="float16",
    trains=False,
    weight=0,
    needs=(),
    text="Stores half of everything.",
    variants=("halves",),
    why_not=lambda facts: "",
    run=run,
)


def test_it_runs(tmp_path, monkeypatch):
    model, images = registered(monkeypatch, tmp_path), np.zeros((40, 8, 8, 1), np.uint8)
    part, messages = Part(images, np.zeros(40, np.int64)), []
    backend = open_backend(model, tmp_path / "cache", 1)
    facts = backend.facts(backend.load(model))
    job = Job("halves", model, facts, tmp_path, seed=0, seconds=1.0)
    bench = Workbench(job, backend, Data(part, part, part), messages.append)
    HALVES.run(bench)
    (made,) = [message["variant"] for message in messages if message["kind"] == "variant_made"]
    assert (made["id"], made["status"], made["reason"]) == ("halves", "done", "")


def test_it_is_planned_and_named_and_its_runs_stay_readable(workspace, asked, monkeypatch, capsys):
    with monkeypatch.context() as registry:
        registry.setitem(TECHNIQUES, "halves", HALVES)
        assert ask.techniques_named(["halves", "fp16"]) == ["fp16", "halves"]
        assert expected_seconds(["halves"], {}, 30)["halves"] > 0
        registry.setattr("sys.argv", ["engine", "techniques"])
        assert main() == 0 and "halves " in capsys.readouterr().out
        run_id = workspace.create(asked(techniques=["fp16", "halves"]))
    assert "halves" not in TECHNIQUES
    assert workspace.experiment(run_id).techniques == ["fp16", "halves"]
    monkeypatch.setattr("sys.argv", ["engine", "show", run_id])
    assert main() == 0 and "accuracy" in capsys.readouterr().out
