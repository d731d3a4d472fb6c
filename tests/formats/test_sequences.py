"""Networks without branches from bare weights: names that say everything, sizes that fit, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from engine.errors import BadInput
from engine.formats.torch import sequences
from engine.formats.torch.sequences import Chain, Conv

convs = st.builds(Conv, st.integers(0, 20), st.integers(1, 9), st.integers(1, 9))
chains = st.builds(
    Chain,
    st.integers(1, 9999),
    st.lists(convs, max_size=6).map(tuple),
    st.sampled_from(["max", "avg"]),
    st.sampled_from(sorted(sequences.ACTIVATIONS)),
    st.sampled_from(["flat", "mean"]),
)


@given(chains)
def test_a_name_makes_the_same_chain_again(chain):
    assert Chain.parse(chain.text()) == chain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chain:28",
        "chain:28:p0s1m2:max:swish:flat",
        "chain:28:p0s1m2:max:relu:flat; import os",
        "resnet18",
    ],
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(BadInput, match="names no chain of layers: use, for example"):
        Chain.parse(text)


def weights_of(network: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in network.state_dict().items()}


def test_lenet_is_found_first_and_gives_the_same_scores():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 10)),
    ).eval()
    weights, images = weights_of(network), torch.rand(2, 1, 28, 28)
    right = Chain(28, (Conv(2, 1, 2), Conv(0, 1, 2)))
    assert right in sequences.candidates(weights, 28) and right.ends(weights) == (1, 10)
    assert torch.allclose(right.build(weights)(images), network(images), atol=1e-6)
    for chain in sequences.candidates(weights, 28):
        if chain.size == 28:
            assert chain.build(weights)(images).shape == (2, 10)


def test_weights_that_are_no_chain_give_none():
    weights = weights_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(36, 3)))
    assert sequences.candidates(weights, 5)
    assert not sequences.candidates(weights | {"gate.alpha": np.ones(1, np.float32)}, 5)
    assert not sequences.candidates(weights | {"0.weight": np.ones((4, 1, 3), np.float32)}, 5)


def test_a_chain_of_another_length_is_refused():
    weights = weights_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(36, 3)))
    with pytest.raises(BadInput, match="another number of convolutions"):
        Chain(5, ()).build(weights)
