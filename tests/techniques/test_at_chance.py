"""A variant at chance where the uploaded network is not is told apart by a field, whatever made it."""

import numpy as np

from engine.backends import open_backend
from engine.datasets import Part
from engine.run.made import TOLD
from engine.techniques.job import Data, Job
from engine.techniques.workbench import Workbench
from tests.backends.linear import NAME, registered


def test_what_lost_all_it_knew_is_not_usable(tmp_path, monkeypatch):
    model = registered(monkeypatch, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), np.uint8)
    backend = open_backend(model, tmp_path / "cache", 1)
    network = backend.load(model)
    part, messages = Part(images, backend.logits(network, images).argmax(axis=1)), []
    job = Job("fp16", model, backend.facts(network), tmp_path, seed=0, seconds=1.0)
    bench = Workbench(job, backend, Data(part, part, part), messages.append)
    for name, weights in (("whole", network[0]), ("emptied", np.zeros_like(network[0]))):
        with bench.variant(name) as making:
            making.export(backend.with_weights(network, {NAME: weights}))
    made = {m["variant"]["id"]: m["variant"] for m in messages if m["kind"] == "variant_made"}
    assert {name: variant["usable"] for name, variant in made.items()} == {"whole": True, "emptied": False}
    assert made["emptied"]["status"] == "done" and "fell to chance" in made["emptied"]["notes"][0]
    assert "usable" in TOLD  # or the run would forget it
