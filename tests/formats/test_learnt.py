"""Where weights leave the wiring open, normalisation layers tell which one shows them what they learnt."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.datasets.trial import TrialPictures
from engine.formats import choose
from engine.formats.learnt import familiar, familiar_of
from engine.formats.patience import Patience
from engine.formats.scalings import candidates
from engine.formats.torch.open import openings
from engine.formats.trials import NO_HURRY
from models.torchvision_shim import import_torchvision


@pytest.mark.parametrize(
    "rows, known",
    [
        ([[0.1, 0.1], [0.1, 0.5]], [True, False]),  # a stranger behind its first layer
        ([[0.1, 0.2], [0.1, 0.3]], [True, True]),  # short training leaves as much
        ([[0.5, 0.5], [0.5, 2.0]], [True, True]),  # no one sees what was learnt
        ([[0.1, 0.6], [0.5, 0.1]], [True, False]),  # what follows a stranger is not asked
        ([[0.1, 0.1], [0.9]], [True, True]),  # other layers can't be compared
        ([[0.1], [np.inf]], [True, False]),
        ([[], []], [True, True]),
    ],
)
def test_a_network_that_sees_other_numbers_than_it_learnt_is_out(rows, known):
    assert familiar(rows) == known


def test_a_stem_is_told_from_others_though_these_name_as_many_pictures(tmp_path):
    """Random weights name nothing; what they saw in training they keep all the same."""
    torch.manual_seed(0)
    network = import_torchvision().models.resnet18(num_classes=4)
    network.maxpool = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all that is seen
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    torch.save(network.state_dict(), tmp_path / "stem.pt")
    pictures = TrialPictures.of_arrays(images, np.arange(64) % 4, ["a", "b", "c", "d"])
    found = [o for o in openings(tmp_path / "stem.pt", "state_dict", None, 32) if o.height == 32]
    assert len(found) == 4
    spec = dict(candidates(found[0], "mine", images))["0..1"]
    believed = next(opening for opening in found if "pool=yes" in opening.architecture)
    told = choose.familiar_networks(believed, spec, found, pictures, NO_HURRY)
    assert [opening.architecture for opening in told] == ["torchvision/resnet18,stride=2,pool=no"]
    assert not choose.familiar_networks(told[0], spec, found, pictures, NO_HURRY)
    ways = [(opening, "0..1", spec) for opening in found]
    assert familiar_of(ways, pictures, Patience(wall=0)) == ways  # no time to look: nothing is told apart
