"""Reconstruction after channels went: exact where the lost channels can be told from those that stay."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from engine.backends import backend_for
from engine.techniques.shared.reconstruct import (
    DAMPING,
    _kept,
    _solved_by_rows,
    energies,
    reconstructed,
    without_weights,
)
from engine.vocabulary import Preprocessing

PREPROCESSING = Preprocessing(height=8, width=8, color="grey", layout="NCHW", mean=[0.0], std=[1.0])


@pytest.fixture
def backend(tmp_path):
    return backend_for("pytorch", PREPROCESSING, tmp_path)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (800, 8, 8, 1), dtype=np.uint8)


def twice_the_same(reader: Callable[[], nn.Module]) -> nn.Sequential:
    """Returns a seeded network whose first layer says everything twice, read by what `reader` makes."""
    torch.manual_seed(0)
    first = nn.Conv2d(1, 16, 3, padding=1)
    first.weight.data[8:], first.bias.data[8:] = (
        first.weight.data[:8].clone() * 1.001,
        first.bias.data[:8].clone() * 1.001,
    )
    return nn.Sequential(first, nn.ReLU(), reader(), nn.Flatten(), nn.LazyLinear(5))


@pytest.mark.parametrize("reader", [lambda: nn.Conv2d(16, 6, 3), nn.Flatten], ids=["convolution", "dense"])
def test_what_others_say_as_well_is_made_up_for(backend, images, reader):
    network = twice_the_same(reader)
    network(torch.zeros(2, 1, 8, 8))
    network.eval().requires_grad_(False)
    left = backend.remove_channels(network, {"0": 0.5}, "l2", None, 0)
    assert left[0].weight.shape[0] == 8
    wanted = backend.logits(network, images)
    far, near = (
        np.abs(backend.logits(n, images) - wanted).mean()
        for n in (left, reconstructed(backend, network, left, images))
    )
    assert near < 0.3 * far


@pytest.mark.parametrize("reader", [lambda: nn.Conv2d(16, 6, 3), nn.Flatten], ids=["convolution", "dense"])
def test_what_other_weights_say_as_well_is_made_up_for(backend, images, reader):
    network = twice_the_same(reader)
    network(torch.zeros(2, 1, 8, 8))
    network.eval().requires_grad_(False)
    masks = {name: np.ones(w.shape, bool) for name, w in backend.weights(network).items()}
    reads = list(masks)[1]
    masks[reads][::2, : masks[reads].shape[1] // 2] = False  # by every second row alone
    left = without_weights(backend, network, masks, images)
    zeroed = backend.with_weights(network, {reads: backend.weights(network)[reads] * masks[reads]})
    wanted = backend.logits(network, images)
    far, near = (np.abs(backend.logits(n, images) - wanted).mean() for n in (zeroed, left))
    assert near < 0.3 * far
    assert all((backend.weights(left)[name] != 0).sum() == mask.sum() for name, mask in masks.items())


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_rows_that_lost_little_are_solved_as_those_that_lost_much(share):
    random = np.random.default_rng(0)
    old, mask = random.normal(size=(5, 30)), random.uniform(size=(5, 30)) > share
    inputs = random.normal(size=(100, 30)) @ random.normal(size=(30, 30))
    gram = inputs.T @ inputs / 100
    solved = _solved_by_rows(old, mask, gram.copy())
    kernel = gram + DAMPING * np.diag(gram).mean() * np.eye(30)
    for row, was, stays in zip(solved, old, mask, strict=True):
        assert (row[~stays] == 0).all()
        np.testing.assert_allclose((kernel @ (row - was))[stays], 0, atol=1e-3)  # where the error is least


def test_energies_are_the_mean_squares_of_inputs(backend, images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval().requires_grad_(False)
    means = np.square(images.reshape(len(images), -1) / 255.0).mean(axis=0)
    np.testing.assert_allclose(energies(backend, network, images)["1"], means, rtol=1e-4)


def test_a_network_that_lost_nothing_stays_as_it_is(backend, images):
    network = twice_the_same(nn.Flatten)
    network(torch.zeros(2, 1, 8, 8))
    network.eval().requires_grad_(False)
    np.testing.assert_array_equal(
        backend.logits(reconstructed(backend, network, network, images), images),
        backend.logits(network, images),
    )


@pytest.mark.parametrize("shape", [(12, 9, 3, 3), (12, 9)])
def test_what_is_left_is_found_by_its_values(shape):
    old = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    outputs, inputs = np.array([0, 3, 4, 9]), np.array([2, 3, 8])
    found = _kept(old, old[np.ix_(outputs, inputs)])
    np.testing.assert_array_equal(found[0], outputs)
    np.testing.assert_array_equal(found[1], inputs)


def test_values_that_repeat_are_left_alone():
    assert _kept(np.ones((6, 6), np.float32), np.ones((6, 3), np.float32)) is None
    assert _kept(np.zeros((6, 6), np.float32), np.zeros((6, 3), np.float32)) is None
