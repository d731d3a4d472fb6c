"""Per-layer sensitivity on a small real network: one layer changes at a time, the largest first, and time is
kept.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx, nn

from engine.backends import backend_for
from engine.datasets import Part
from engine.techniques.shared.sensitivity import images_for, sensitivity
from engine.vocabulary import Preprocessing

PREPROCESSING = Preprocessing(height=8, width=8, color="grey", layout="NCHW", mean=[0.0], std=[1.0])


class Twice(nn.Module):
    """A convolution, and a second one that runs twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.out = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Linear(8 * 64, 5),
        )

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.out(torch.relu(self.again(torch.relu(self.again(x)))).flatten(1))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Twice().eval().requires_grad_(False)


@pytest.fixture
def backend(tmp_path):
    return backend_for("pytorch", PREPROCESSING, tmp_path)


@pytest.fixture
def data() -> Part:
    random = np.random.default_rng(0)
    return Part(random.integers(0, 256, (200, 8, 8, 1), dtype=np.uint8), random.integers(0, 5, 200))


@pytest.mark.parametrize("traced", [True, False])
def test_new_weights_go_into_a_copy(network, backend, data, traced):
    network = backend.folded(network) if traced else network
    assert isinstance(network, fx.GraphModule) == traced
    before = backend.logits(network, data.images)
    changed = backend.with_weights(
        network, {"again": np.zeros((8, 8, 3, 3), np.float32)}, {"out": np.arange(5, dtype=np.float32)}
    )
    reference = Twice().eval()
    reference.load_state_dict(network.state_dict())
    nn.init.zeros_(reference.again.weight)
    reference.out.bias.data = torch.arange(5.0)
    np.testing.assert_allclose(
        backend.logits(changed, data.images), backend.logits(reference, data.images), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(backend.logits(network, data.images), before)
    shared = changed.first.weight.data_ptr() == network.first.weight.data_ptr()
    assert shared == traced
    again = backend.with_weights(
        backend.folded(changed), {"first": np.ones((8, 1, 3, 3), np.float32)}
    )  # a copy of a copy
    assert not torch.equal(again.first.weight, network.first.weight) and torch.equal(
        again.again.weight, changed.again.weight
    )


def test_every_layer_has_a_row_for_each_change(network, backend, data):
    facts = backend.facts(network)
    rows = sensitivity(backend, network, facts, data, lambda done, layer: None)
    assert {(r.layer, r.change) for r in rows} == {
        (n, c) for n in ("first", "again", "out") for c in ("int8", "int4", "prune")
    }
    assert max(abs(r.loss_increase) for r in rows if r.change == "int8") < max(
        abs(r.loss_increase) for r in rows if r.change == "prune"
    )


@pytest.mark.parametrize(
    ("macs", "layers", "images"),
    [(100_000, 4, 500), (40_000_000, 20, 204), (1_800_000_000, 21, 100), (0, 0, 500)],
)
def test_how_many_images_is_no_matter_of_speed(network, backend, macs, layers, images):
    facts = backend.facts(network)
    facts = replace(facts, macs=macs, layers=facts.layers[:1] * layers)
    for speed in (1.0, 1e6):
        assert images_for(replace(facts, evaluate_images_per_s=speed)) == images


def test_out_of_time_the_largest_layers_are_known(network, backend, data):
    seen = []
    rows = sensitivity(
        backend,
        network,
        backend.facts(network),
        data,
        lambda done, layer: seen.append(layer),
        lambda: len(seen) < 2,
    )
    assert seen == ["out", "again"] and {r.layer for r in rows} == {"out", "again"}
