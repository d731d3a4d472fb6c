"""Rounding onto grids: exact where it can be, better than nearest where inputs are correlated, biases put
right.
"""

import numpy as np
import pytest

from engine.backends.grid import dequantized, nearest_grid
from engine.techniques.budget import plan_steps
from engine.techniques.prune_unstructured import sparse_bytes
from engine.techniques.shared.masks import cubic, global_masks, scores
from engine.techniques.shared.rounding import corrected_biases, one_by_one, rounded, with_feedback

RANDOM = np.random.default_rng(0)


def correlated(samples: int, width: int) -> np.ndarray:
    """Returns inputs whose neighbours resemble each other, as pixels do."""
    noise = np.random.default_rng(1).normal(size=(samples, width + 20))
    return np.stack([noise[:, i : i + 20].mean(axis=1) for i in range(width)], axis=1)


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_on_a_grid_stay_where_they_are(bits):
    high = 2 ** (bits - 1) - 1
    codes = RANDOM.integers(-high, high + 1, (6, 3, 3, 3))
    codes[:, 0, 0, 0] = high  # each channel uses its whole range
    scales = np.float32([0.5, 0.01, 1e-4, 3, 0.125, 7e-3])
    weights = (codes * scales.reshape(-1, 1, 1, 1)).astype(np.float32)
    grid = nearest_grid(weights, bits)
    assert (grid.codes == codes).all()
    np.testing.assert_allclose(dequantized(grid), weights, rtol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_fit_their_bits_and_channels_have_their_own_scale(bits):
    weights = RANDOM.normal(size=(5, 40)).astype(np.float32) * np.float32([[1], [10], [0.1], [1e-3], [0]])
    grid = nearest_grid(weights, bits)
    assert grid.codes.dtype == np.int8 and grid.scales.dtype == np.float32 and grid.scales.shape == (5,)
    assert grid.codes.min() >= -(2 ** (bits - 1)) and grid.codes.max() < 2 ** (bits - 1)
    relative = np.abs(dequantized(grid) - weights).max(axis=1)[:4] / np.abs(weights).max(axis=1)[:4]
    assert relative.max() < (0.5 if bits == 4 else 1 / 250)
    assert (dequantized(grid)[4] == 0).all()


def test_four_bits_choose_the_scale_of_least_error():
    weights = np.float32(RANDOM.normal(size=(8, 500)))
    weights[:, 0] = 6  # one outlier must not widen the steps of all the others
    found = np.square(dequantized(nearest_grid(weights, 4)) - weights).sum()
    full = np.abs(weights).max(axis=1, keepdims=True) / 7
    plain = np.square(np.clip(np.rint(weights / full), -8, 7) * full - weights).sum()
    assert found < 0.8 * plain


def output_error(weights, grid, inputs) -> float:
    return float(np.square((weights - dequantized(grid)) @ inputs.T).mean())


def test_error_feedback_beats_nearest_on_correlated_inputs():
    inputs = correlated(2000, 60)
    weights = np.float32(np.random.default_rng(2).normal(size=(16, 60)))
    nearest = nearest_grid(weights, 4)
    feedback = with_feedback(weights, nearest, inputs.T @ inputs / len(inputs))
    assert output_error(weights, feedback, inputs) < 0.35 * output_error(weights, nearest, inputs)
    assert (
        (feedback.scales == nearest.scales).all() and feedback.codes.min() >= -8 and feedback.codes.max() <= 7
    )


def test_error_feedback_is_never_worse_than_nearest():
    inputs = np.random.default_rng(3).normal(size=(4000, 30))  # without correlation there is nothing to gain
    weights = np.float32(np.random.default_rng(4).normal(size=(8, 30)))
    gram, nearest = inputs.T @ inputs / len(inputs), nearest_grid(weights, 4)
    for change in (gram, np.zeros_like(gram), np.diag(np.eye(30)[0])):
        error = lambda grid, g=change: np.einsum("od,de,oe->", *(d := weights - dequantized(grid),), g, d)  # noqa: E731
        assert error(with_feedback(weights, nearest, change)) <= error(nearest) * (1 + 1e-9)


class DenseLayers:
    """A backend of two dense layers in NumPy, without activation: enough to see what rounding does to
    outputs.
    """

    def weights(self, network):
        return {name: w for name, (w, _) in network.items()}

    def biases(self, network):
        return {name: b for name, (_, b) in network.items()}

    def with_weights(self, network, weights, biases=None):
        return {name: (weights.get(name, w), (biases or {}).get(name, b)) for name, (w, b) in network.items()}

    def _outputs(self, network, x):
        for name, (w, b) in network.items():
            x = x @ w.T + b
            yield name, x

    def output_means(self, network, images):
        return {name: y.mean(axis=0) for name, y in self._outputs(network, images)}

    def _inputs(self, network, images):
        return dict(zip(network, [images, *(y for _, y in self._outputs(network, images))], strict=False))

    def input_means(self, network, images):
        return {name: x.mean(axis=0) for name, x in self._inputs(network, images).items()}

    def input_rows(self, network, images, layer):
        yield self._inputs(network, images)[layer]

    def input_grams(self, network, images, layers):
        inputs = self._inputs(network, images)
        return {name: inputs[name].T @ inputs[name] / len(images) for name in layers}


@pytest.fixture
def two_layers():
    random = np.random.default_rng(5)
    return {
        "a": (np.float32(random.normal(size=(20, 30))), np.float32(random.normal(size=20))),
        "b": (np.float32(random.normal(size=(10, 20))), np.float32(random.normal(size=10))),
    }


def test_bias_correction_restores_the_means(two_layers):
    backend, images = DenseLayers(), correlated(500, 30) + 1
    grids = rounded(backend, two_layers, images, list(two_layers), lambda done: None)
    assert {grid.bits for grid in grids.values()} == {4}
    grids["b"] = nearest_grid(two_layers["b"][0], 8)
    wanted = backend.output_means(two_layers, images)
    snapped = backend.with_weights(two_layers, {name: dequantized(grid) for name, grid in grids.items()})
    biases = corrected_biases(backend, two_layers, grids, images)
    corrected = backend.with_weights(snapped, {}, biases)
    for name in two_layers:
        off = np.abs(backend.output_means(snapped, images)[name] - wanted[name]).max()
        assert np.abs(backend.output_means(corrected, images)[name] - wanted[name]).max() < 1e-4 < off
        assert (backend.weights(corrected)[name] == dequantized(grids[name])).all()


def test_layers_make_up_for_those_before_them():
    backend, (images, others) = DenseLayers(), np.split(correlated(2000, 30) + 1, 2)
    random = np.random.default_rng(6)
    two_layers = {  # 100 channels of what 30 numbers tell: what rounding does to one shows in the others
        name: (np.float32(random.normal(size=shape)), np.zeros(shape[0], np.float32))
        for name, shape in (("a", (100, 30)), ("b", (10, 100)))
    }
    grids = rounded(backend, two_layers, images, list(two_layers), lambda done: None)
    biases = corrected_biases(backend, two_layers, grids, images)
    at_once = {name: dequantized(grid) for name, grid in grids.items()}
    again, moved = one_by_one(backend, two_layers, grids, images, lambda done: None)
    one_after_another = {name: dequantized(grid) for name, grid in again.items()}

    def error(weights, biases) -> float:
        made = backend.with_weights(two_layers, weights, biases)
        wanted, found = (dict(backend._outputs(network, others))["b"] for network in (two_layers, made))
        return float(np.square(wanted - found).mean())

    assert {grid.bits for grid in again.values()} == {4} and set(moved) == {"a", "b"}
    assert error(one_after_another, moved) < 0.8 * error(at_once, biases)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_global_masks_take_exactly_the_smallest(sparsity):
    weights = {"a": RANDOM.normal(size=(10, 30)), "b": 10 * RANDOM.normal(size=(7, 7, 3, 3))}
    masks = global_masks(weights, sparsity)
    total = sum(w.size for w in weights.values())
    gone = np.concatenate([np.abs(weights[n][~masks[n]]) for n in weights])
    kept = np.concatenate([np.abs(weights[n][masks[n]]) for n in weights])
    assert len(gone) == round(sparsity * total)
    assert not len(gone) or not len(kept) or gone.max() <= kept.min()
    if sparsity == 0.5:
        assert (
            ~masks["a"]
        ).mean() > 0.8  # over all layers together, so the layer of small weights loses more


def test_no_layer_starves_for_the_size_of_its_weights_or_inputs():
    """Where an input is twice as loud and its weights half as large, nothing else is lost."""
    weights = {"wide": RANDOM.normal(size=(40, 50)), "thin": RANDOM.normal(size=(6, 1, 3, 3))}
    inputs = {"wide": RANDOM.uniform(0.5, 2, 50)}
    masks = global_masks(scores(weights, inputs), 0.9)
    louder = {"wide": 100 * inputs["wide"]}
    smaller = {"wide": weights["wide"] / 1000, "thin": weights["thin"]}
    np.testing.assert_array_equal(global_masks(scores(smaller, louder), 0.9)["wide"], masks["wide"])
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.9 * (2000 + 54))
    assert masks["thin"].mean() > 0.5 > masks["wide"].mean()  # each of few weights counts more
    counts = weights["wide"] ** 2 * inputs["wide"]
    assert counts[masks["wide"]].min() > counts[~masks["wide"]].max()


@pytest.mark.parametrize("sparsity", [0.2, 0.6, 0.9])
def test_global_masks_take_the_exact_number_of_equal_weights(sparsity):
    weights = {"a": np.zeros((20, 10)), "b": np.ones((20, 10))}  # half of them gone before
    masks = global_masks(weights, sparsity)
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(sparsity * 400)
    assert (~masks["a"]).all() == (sparsity >= 0.5) and masks["b"].all() == (sparsity <= 0.5)


def test_a_large_layer_is_rounded_as_a_small_one(monkeypatch):
    weights = RANDOM.normal(size=(64, 3, 3, 3)).astype(np.float32)
    whole = nearest_grid(weights, 4)
    monkeypatch.setattr("engine.backends.grid.VALUES_AT_ONCE", 100)
    pieces = nearest_grid(weights, 4)
    assert (
        (pieces.codes == whole.codes).all()
        and (pieces.scales == whole.scales).all()
        and pieces.codes.dtype == np.int8
    )


def test_the_cubic_schedule_begins_at_0_and_ends_at_its_target():
    steps = [cubic(0.9, i / 10) for i in range(11)]
    assert steps[0] == 0 and steps[-1] == 0.9 == cubic(0.9, 2)
    assert steps == sorted(steps) and steps[5] == pytest.approx(0.9 * (1 - 0.125))


def test_sparse_bytes_by_hand():
    weights = np.zeros((10, 10), np.float32)
    weights[0] = 1
    assert sparse_bytes({"a": weights}) == 60  # ten values with their gaps
    assert sparse_bytes({"a": np.ones((10, 10), np.float32)}) == 400  # dense is less


def test_steps_follow_from_speed_and_seconds():
    assert plan_steps(0.0, 1e-3, 20, 50_000) == (156, 128)
    assert plan_steps(0.0, 1e3, 1, 50_000) == (10, 32)  # never fewer than ten
    assert plan_steps(0.0, 1e-9, 1e9, 1000) == (12 * 1000 // 128, 128)  # never more than twelve rounds
    assert plan_steps(0.0, 1e-3, 20, 20)[1] == 20


def test_a_short_budget_of_a_large_network_is_not_spent_on_updates():
    assert plan_steps(0.1, 1e-3, 10, 50_000)[1] == 128  # the step itself costs as much as a hundred images
    assert plan_steps(0.05, 1e-3, 5, 50_000)[1] == 64
