"""Features from graphs, from tables and by hand agree, and are counted as they say."""

import numpy as np
import pytest

from estimator import features
from tests.estimator.networks import convolution, profile_of


def named(x):
    return dict(zip(features.NAMES, x, strict=True))


def test_counts_by_hand():
    found = named(
        features.from_profile(
            profile_of(
                [convolution("a", 8, 20), convolution("b", 8, 20, 3), convolution("c", 8, 20, 3, "depthwise")]
            )
        )
    )
    assert found["layers"] == 3 and found["overhead"] == 1
    assert found["dense_macs"] == pytest.approx(400 * 64 / 1e6)
    assert found["window_macs"] == pytest.approx(400 * 64 * 9 / 1e6)
    assert found["depthwise_macs"] == pytest.approx(400 * 8 * 9 / 1e6)
    assert found["activations"] == pytest.approx(6 * 8 * 400 / 1e6)
    assert found["mixed"] == pytest.approx(np.sqrt(400 * 640 * 6 * 3200) / 1e6)
    assert found["tile_macs"] == pytest.approx(400 * 640 / 1e6), "400 pixels are 25 whole tiles of 16"
    assert found["mixed_windows"] == pytest.approx(np.sqrt(400 * 576 * 6 * 3200) / 1e6), (
        "the one window's MACs only"
    )
    assert found["small"] == pytest.approx(np.sqrt(400 * (640 + 72) / 1e6 * 3)), (
        "layers times the root of a layer's MACs"
    )
    assert found["gather_rows"] == pytest.approx(8 * 9 * 20 / 1e6), (
        "a row for each channel, tap and line of pixels"
    )


def test_a_started_tile_counts_whole():
    found = named(features.from_profile(profile_of([convolution("a", 8, 5)])))
    assert found["tile_macs"] == pytest.approx(32 * 64 / 1e6), "25 pixels take two tiles of 16"


def test_activations_cost_nothing_of_their_own():
    relu = convolution("r", 8, 20).model_copy(update={"kind": "activation", "macs": 0})
    one = features.from_profile(profile_of([convolution("a", 8, 20)]))
    two = features.from_profile(
        profile_of([convolution("a", 8, 20), relu.model_copy(update={"parameters": 0})])
    )
    assert np.allclose(one, two)


@pytest.mark.parametrize(
    ("op", "kind", "layers"), [("HARD_SWISH", "activation", 1), ("CONCATENATION", "shape", 2)]
)
def test_what_no_kernel_takes_in_moves_its_elements(op, kind, layers):
    convolved = convolution("a", 8, 20)
    moved = convolved.model_copy(update={"op": op, "kind": kind, "macs": 0, "parameters": 0})
    one, two = (named(features.from_profile(profile_of(la))) for la in ([convolved], [convolved, moved]))
    assert two["activations"] == 2 * one["activations"] and two["mixed"] > one["mixed"]
    assert two["layers"] == layers and two["dense_macs"] == one["dense_macs"]


def test_a_branch_that_is_added_is_read_again():
    convolved = convolution("a", 8, 20)
    added = convolved.model_copy(
        update={"op": "Add", "kind": "elementwise", "macs": 0, "parameters": 0, "input_elements": 6400}
    )
    assert named(features.from_profile(profile_of([convolved])))["read_again"] == 0
    found = named(features.from_profile(profile_of([convolved, added])))
    assert found["read_again"] == pytest.approx(3200 / 1e6) and found["add_elements"] == pytest.approx(
        3200 / 1e6
    )


def test_twice_the_network_costs_twice_the_time():
    # Every term but the overhead has degree one, so that predictions extrapolate.
    once = features.combine(10, 1e6, 2e6, 3e5, 1e5, 4e6, 5e5)
    twice = features.combine(20, 2e6, 4e6, 6e5, 2e5, 8e6, 1e6)
    assert np.allclose(twice[1:15], 2 * once[1:15])


def test_only_what_exceeds_the_chip_spills():
    assert named(features.combine(1, 0, 0, 0, 0, 0, 7e6))["spilled"] == 0
    assert named(features.combine(1, 0, 0, 0, 0, 0, 9e6))["spilled"] == pytest.approx(1)
