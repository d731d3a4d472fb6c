"""Fine-tuning of Keras networks: repeatable, masks held, learned grids exact."""

import numpy as np
import pytest

from engine.backends.grid import dequantized
from engine.backends.protocol import Training
from engine.backends.training import Teacher
from engine.datasets import Part


@pytest.fixture(scope="module")
def part(small) -> Part:
    """Images that the network's own answers label, so that there is something to keep."""
    backend, network, images = small
    return Part(images, backend.logits(network, images).argmax(1).astype(np.int64))


def tuned(small, part, **options):
    backend, network, _ = small
    training = Training(**({"steps": 4, "batch": 16, "learning_rate": 1e-3, "seed": 5} | options))
    return backend.train(network, part, part, training, lambda done: None)


def test_the_same_seed_gives_the_same_weights(small, part):
    backend = small[0]
    first, again, other = (
        backend.weights(tuned(small, part, evaluations=0, seed=s).network) for s in (5, 5, 6)
    )
    name = next(iter(first))
    assert np.array_equal(first[name], again[name]) and not np.array_equal(first[name], other[name])


def test_the_given_network_is_left_as_it_was(small, part):
    backend, network, images = small
    before = backend.logits(network, images)
    tuned(small, part, evaluations=0, learning_rate=1e-2)
    assert np.array_equal(backend.logits(network, images), before)


def test_masks_hold_to_the_end(small, part):
    backend, network, _ = small
    masks = {n: np.abs(w) > np.median(np.abs(w)) for n, w in backend.weights(network).items()}
    found = backend.weights(tuned(small, part, masks=masks, evaluations=0).network)
    for name, mask in masks.items():
        assert not found[name][~mask].any()
        assert (found[name][mask] != 0).mean() > 0.99


def test_masks_may_come_while_training(small, part):
    backend = small[0]
    seen = []

    def on_step(step, weights):
        seen.append(step)
        return {n: np.abs(w) > np.median(np.abs(w)) for n, w in weights.items()} if step == 2 else None

    found = backend.weights(tuned(small, part, on_step=on_step, settle=3).network)
    assert seen == [0, 1, 2, 3]
    assert all((w == 0).mean() >= 0.49 for w in found.values())


@pytest.mark.parametrize("bits", [4, 8])
def test_learned_grids_are_the_networks_weights(small, part, bits):
    backend = small[0]
    trained = tuned(small, part, fake_bits=bits, fake_activations=bits == 8)
    weights = backend.weights(trained.network)
    for name, grid in trained.grids.items():
        assert grid.bits == bits and np.abs(grid.codes.astype(int)).max() <= 2 ** (bits - 1)
        assert np.allclose(dequantized(grid), weights[name], atol=1e-6)
    assert set(trained.activations) == (set(trained.grids) if bits == 8 else set())
    assert all(low <= 0 <= high for low, high in trained.activations.values())


def test_codes_of_the_reduced_range_keep_to_seven_bits(small, part):
    grids = tuned(small, part, fake_bits=8, reduced_range=True).grids
    assert max(int(np.abs(g.codes.astype(int)).max()) for g in grids.values()) <= 64


def test_the_best_checkpoint_is_kept(small, part):
    trained = tuned(small, part, learning_rate=0.3, steps=8)
    assert trained.after >= trained.before == 1.0


def test_a_taught_student_is_another_one(small, part):
    backend, network, images = small
    known = np.full((len(images), 10), np.nan, np.float32)
    teacher = Teacher(lambda asked: backend.logits(network, asked), images, known)
    student = backend.slim(network, 0.5, 0)
    options = {"steps": 8, "batch": 25, "learning_rate": 1e-3, "seed": 0, "evaluations": 0}
    taught, alone = (
        backend.weights(backend.train(student, part, part, training, lambda done: None).network)
        for training in (Training(**options, teacher=teacher, mix=0.7), Training(**options))
    )
    assert not np.isnan(known).any()
    assert any(not np.array_equal(taught[name], alone[name]) for name in alone)


def test_taylor_importance_needs_labels_and_gives_a_network(small, part):
    backend, network, _ = small
    ratios = {layer.name: 0.5 for layer in backend.facts(network).layers}
    by_loss = backend.remove_channels(network, ratios, "taylor", part, 0)
    assert (
        backend.cost(by_loss)[0] == backend.cost(backend.remove_channels(network, ratios, "l2", None, 0))[0]
    )


def test_step_seconds_are_measured_on_a_copy(small, part):
    backend, network, images = small
    before = backend.logits(network, images)
    assert backend.step_seconds(network, part, 16, 0.2) > 0
    assert np.array_equal(backend.logits(network, images), before)


def test_a_teacher_of_the_same_structure_does_not_disturb_the_student(backend_for):
    import keras
    from keras import layers

    from engine.backends.keras.apart import graph_of

    inputs = keras.Input((16, 16, 3))
    x = layers.Dropout(0.3)(layers.Conv2D(8, 3, activation="relu", trainable=False)(inputs))
    network, backend = (
        graph_of(keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))),
        backend_for(16, 3),
    )
    half = backend.with_weights(network, {name: w / 2 for name, w in backend.weights(network).items()})
    data = Part(np.zeros((32, 16, 16, 3), np.uint8), np.zeros(32, np.int64))
    known = np.full((32, 10), np.nan, np.float32)
    teacher = Teacher(lambda images: backend.logits(network, images), data.images, known)
    asked = Training(steps=2, batch=16, learning_rate=1e-9, seed=0, teacher=teacher, mix=0.5, evaluations=1)
    found = backend.weights(backend.train(half, data, data, asked, lambda done: None).network)
    assert all(np.allclose(found[name], w, atol=1e-6) for name, w in backend.weights(half).items())


def test_layers_that_were_frozen_are_trained_too(backend_for):
    import keras
    from keras import layers

    from engine.backends.keras.apart import graph_of

    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="frozen", trainable=False)(inputs)
    network, backend = (
        graph_of(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))),
        backend_for(16, 3),
    )
    random = np.random.default_rng(0)
    data = Part(random.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8), random.integers(0, 10, 32))
    found = backend.train(
        network,
        data,
        data,
        Training(steps=2, batch=16, learning_rate=1e-2, seed=0, evaluations=0),
        lambda done: None,
    )
    assert not np.allclose(backend.weights(found.network)["frozen"], backend.weights(network)["frozen"])
    assert backend.facts(network).parameters == 8 * 27 + 8 + 8 * 10 + 10
