"""Channels that nothing else sees go even where the pruning library can't draw its graph, and only those."""

import copy

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

from engine.backends import backend_for
from engine.backends.torch import chains as torch_chains
from engine.datasets import Part
from engine.vocabulary import Preprocessing
from models.torchvision_shim import import_torchvision

UNITS = [f"{unit}.branch2.0" for unit in ("stage2.0", "stage2.1", "stage3.0", "stage4.0")]
PREPROCESSING = Preprocessing(height=32, width=32, color="rgb", layout="NCHW", mean=[0.0], std=[1.0])


class Seen(nn.Module):
    """Every layer's channels are seen by something else: an addition, two readers, a grouped layer, another
    axis.
    """

    def __init__(self):
        super().__init__()
        self.added, self.shared, self.one, self.other = (
            nn.Conv2d(3, 4, 1),
            nn.Conv2d(4, 4, 1),
            nn.Conv2d(4, 4, 1),
            nn.Conv2d(4, 8, 1),
        )
        self.grouped, self.flat, self.out = (
            nn.Conv2d(8, 8, 1, groups=2),
            nn.Linear(8 * 1024, 5),
            nn.Linear(5, 5),
        )

    def forward(self, x):
        x = self.added(x)
        x = x + self.shared(x)
        x = self.one(x) + self.other(x)[:, :4]
        x = self.grouped(torch.cat((x, x), dim=1))
        x = self.flat(x.flatten(1))
        return self.out(x) * x


@pytest.fixture
def network() -> nn.Module:
    """A narrow ShuffleNet V2: each of its units has one chain (1x1, depthwise, 1x1) of 8 channels."""
    torch.manual_seed(0)
    made = (
        import_torchvision()
        .models.ShuffleNetV2([2, 1, 1], [4, 16, 16, 16, 16], num_classes=5)
        .eval()
        .requires_grad_(False)
    )
    for name, buffer in made.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return made


@pytest.fixture
def backend(tmp_path):
    return backend_for("pytorch", PREPROCESSING, tmp_path)


@pytest.fixture
def part() -> Part:
    random = np.random.default_rng(0)
    return Part(random.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8), random.integers(0, 5, 48))


def test_a_chain_ends_where_something_else_sees_its_channels(network):
    found = torch_chains.chains(network)
    assert list(found) == UNITS
    assert (
        found[UNITS[0]].between == tuple(f"stage2.0.branch2.{i}" for i in (1, 3, 4))
        and found[UNITS[0]].last == "stage2.0.branch2.5"
    )
    assert torch_chains.chains(Seen()) == {}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("importance", ["l2", "random"])
def test_a_normalisation_loses_its_channels_too(affine, importance):
    network = (
        nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6, affine=affine),
            nn.ReLU6(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 2, 3),
        )
        .eval()
        .requires_grad_(False)
    )
    torch_chains.remove(network, torch_chains.chains(network), {"0": 2}, importance)
    assert network(torch.zeros(1, 3, 16, 16)).shape[1] == 2
    assert len(network[1].running_mean) == network[0].weight.shape[0] == network[4].weight.shape[1] == 2


def test_a_layer_that_runs_twice_is_in_no_chain():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.last = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.last(self.norm(self.first(self.norm(x))))

    assert torch_chains.chains(Twice()) == {}


def test_the_others_are_locked_with_the_reason(backend, network):
    with pytest.raises(IndexError):  # once the library follows this, the tests here need another network
        trial = copy.deepcopy(network).requires_grad_(True)
        shares = {trial.get_submodule(name): 0.5 for name in UNITS}
        tp.pruner.BasePruner(
            trial,
            torch.zeros(2, 3, 32, 32),
            tp.importance.GroupMagnitudeImportance(),
            pruning_ratio=0.0,
            pruning_ratio_dict=shares,
        ).step()
    facts = backend.facts(network)
    assert facts.unprunable == ""
    assert set(facts.locked) == {layer.name for layer in facts.layers if not layer.is_output} - set(UNITS)
    assert "can't be followed" in facts.locked["conv1.0"]


@pytest.mark.parametrize("importance", ["l2", "taylor"])
def test_channels_that_say_nothing_go_and_nothing_changes(backend, network, part, importance):
    branch, silent = network.stage2[1].branch2, [1, 4, 5, 7]
    for module in (branch[1], branch[4]):
        module.weight[silent] = module.bias[silent] = 0.0
    branch[0].weight[silent] = branch[3].weight[silent] = branch[5].weight[:, silent] = 0.0
    before = backend.logits(network, part.images)
    left = backend.remove_channels(network, {"stage2.1.branch2.0": 0.5, "conv1.0": 0.5}, importance, part, 0)
    np.testing.assert_allclose(backend.logits(left, part.images), before, atol=1e-5)
    slim = left.stage2[1].branch2
    assert [slim[i].weight.shape[0] for i in (0, 1, 3, 4)] == [4] * 4 and slim[5].weight.shape == (8, 4, 1, 1)
    assert slim[3].groups == 4 and left.conv1[0].weight.shape[0] == 4 and branch[0].weight.shape[0] == 8
    assert backend.cost(left)[0] < backend.cost(network)[0]


def test_taylor_goes_by_what_the_loss_feels(backend, network, part):
    """Large weights that the loss can't feel go first with gradients and last without."""
    branch = network.stage2[1].branch2
    branch[1].bias[:4] = -1e6  # the activation behind it never lets anything through
    branch[0].weight[:4] *= 30
    branch[3].weight[:4] *= 30
    branch[5].weight[:, :4] *= 30
    kept = {
        importance: (
            backend.remove_channels(network, {"stage2.1.branch2.0": 0.5}, importance, part, 0)
            .stage2[1]
            .branch2[0]
            .weight
        )
        for importance in ("l2", "taylor")
    }
    assert torch.equal(kept["taylor"], branch[0].weight[4:]) and torch.equal(kept["l2"], branch[0].weight[:4])


def test_a_slimmer_one_is_seeded_and_comes_back_from_its_file(backend, network, part, tmp_path, monkeypatch):
    slim, again, other = (backend.slim(network, 0.5, seed) for seed in (0, 0, 1))
    first, same, different = (made.stage2[0].branch2[0].weight for made in (slim, again, other))
    assert first.shape[0] == 4 and torch.equal(first, same) and not torch.equal(first, different)
    backend.save(slim, tmp_path, "slim")
    monkeypatch.setattr(backend.framework, "load", lambda model: network)
    np.testing.assert_array_equal(
        backend.logits(backend.restore(None, tmp_path, "slim"), part.images),
        backend.logits(slim, part.images),
    )


def test_what_is_left_is_written_and_runs_the_same(backend, network, part, tmp_path):
    left = backend.remove_channels(network, dict.fromkeys(UNITS, 0.5), "l2", part, 0)
    scores = backend.predict(backend.export(left, None, None, tmp_path / "left"), part.images)
    np.testing.assert_allclose(scores, backend.logits(left, part.images), atol=1e-4)


class Ghost(nn.Module):
    """What a depthwise layer makes of channels stands beside them, and halves are shuffled by fixed sizes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.one = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.ghost, self.up = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ConvTranspose2d(16, 6, 2, 2)
        self.last, self.scores = nn.Conv2d(6, 12, 3), nn.Linear(12, 5)

    def forward(self, x):
        y = torch.relu(self.one(torch.relu(self.stem(x))))
        x = torch.cat([y, torch.relu(self.ghost(y))], 1)
        x = x.reshape(-1, 2, 8, 32, 32).transpose(1, 2).reshape(-1, 16, 32, 32)
        return self.scores(torch.relu(self.last(torch.relu(self.up(x)))).mean((2, 3)))


def test_what_is_said_to_go_goes_whatever_share_and_importance(tmp_path):
    network, backend = Ghost().eval(), backend_for("pytorch", PREPROCESSING, tmp_path)
    facts = backend.facts(network)
    free = [each.name for each in facts.layers if each.name not in facts.locked and not each.is_output]
    assert {"stem", "last"} <= set(free) and "one" not in free
    images = np.zeros((8, 32, 32, 3), np.uint8)
    part = Part(images, np.arange(8) % 5)
    for importance in ("l2", "taylor", "random"):
        for ratio in (0.3, 0.5, 0.7):
            left = backend.remove_channels(network, dict.fromkeys(free, ratio), importance, part, 0)
            assert backend.cost(left)[1] < facts.parameters and backend.logits(left, images).shape == (8, 5)
