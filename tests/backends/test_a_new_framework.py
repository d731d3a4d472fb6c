"""What a framework costs that nobody has thought of: one file and one entry in the registry."""

import numpy as np
import pytest

from engine import memory
from engine.backends import open_backend
from engine.datasets import Part
from engine.frameworks import FRAMEWORKS
from engine.techniques import TECHNIQUES
from engine.techniques.job import Data, Job
from engine.techniques.workbench import Workbench
from engine.vocabulary import ModelFile
from tests.backends.linear import registered

RANDOM = np.random.default_rng(0)


@pytest.fixture
def linear(monkeypatch, tmp_path) -> ModelFile:
    return registered(monkeypatch, tmp_path)


@pytest.mark.slow
def test_one_file_and_one_entry_are_enough(linear, tmp_path):
    backend = open_backend(linear, tmp_path / "cache", 1)
    network = backend.load(linear)
    facts = backend.facts(network)
    assert memory.needed_bytes(linear) > 200_000_000 and facts.parameters == 260
    images = RANDOM.integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    part = Part(images, backend.logits(network, images).argmax(1))
    messages = []
    for name in ("ptq_int8", "dynamic_int8", "fp16"):
        assert TECHNIQUES[name].why_not(facts) == ""
        job = Job(name, linear, facts, tmp_path, seed=0, seconds=1.0, tolerance=0.005)
        bench = Workbench(job, backend, Data(part, part, part), messages.append)
        TECHNIQUES[name].run(bench)
    made = [message["variant"] for message in messages if message["kind"] == "variant_made"]
    assert [(v["id"], v["status"], v["reason"]) for v in made] == [
        (name, "done", "") for name in ("ptq_int8", "dynamic_int8", "fp16")
    ]
    assert all(v["validation_accuracy"] > 0.9 and "onnx" in v["versions"] for v in made)


def test_it_is_gone_again():
    assert set(FRAMEWORKS) == {"pytorch", "keras", "onnx"}
