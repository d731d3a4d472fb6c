"""The layers of a variant beside the baseline's."""

import pytest

from engine.judge.layers import layer_map, matched
from engine.vocabulary import LayerSensitivity
from estimator.predict import estimate
from estimator.types import Layer
from tests.estimator.networks import convolution, profile_of


def costs(profile):
    return estimate(profile, "raspberry_pi_4", by_layer=True).layers


def renamed(layer: Layer, name: str, **changes) -> Layer:
    return layer.model_copy(update={"name": name} | changes)


FIRST, SECOND = convolution("/features/0/Conv", 32, 28), convolution("/features/1/Conv", 64, 28)


def test_costs_add_up_and_bits_and_channels_stand_beside_those_before():
    theirs = profile_of([FIRST, SECOND])
    small = renamed(
        SECOND, SECOND.name, precision="int8", output_shape=(1, 16, 28, 28), macs=SECOND.macs // 4
    )
    ours = profile_of([FIRST, small])
    lost = [LayerSensitivity(layer="features.1", change="int4", accuracy_drop_pp=2.5, loss_increase=0.1)]
    rows = layer_map(ours, theirs, costs(ours), costs(theirs), lost)
    assert sum(row.ms for row in rows) == pytest.approx(estimate(ours, "raspberry_pi_4").latency_ms)
    assert sum(row.ms_before for row in rows) == pytest.approx(estimate(theirs, "raspberry_pi_4").latency_ms)
    changed = rows[1]
    assert (changed.bits_before, changed.bits, changed.channels) == (32, 8, 16)
    assert changed.channels_before == SECOND.output_shape[1] and changed.macs_before == SECOND.macs
    assert changed.sensitivity == {"int4": 2.5} and rows[0].sensitivity == {}
    assert rows[-1].op == "" and rows[-1].bits is None, "what an inference costs by itself"


def test_layers_of_other_names_are_matched_by_their_place_or_not_at_all():
    theirs = profile_of([FIRST, SECOND])
    ours = profile_of([renamed(FIRST, "conv_a"), renamed(SECOND, "conv_b")])
    assert {name: other.name for name, other in matched(ours, theirs).items()} == {
        "conv_a": FIRST.name,
        "conv_b": SECOND.name,
    }
    one = profile_of([renamed(FIRST, "conv_a")])
    assert matched(one, theirs) == {}
    rows = layer_map(one, theirs, costs(one), costs(theirs))
    assert rows[0].ms_before is None and rows[0].bits_before is None
    assert layer_map(one, theirs, (), ())[0].ms is None, "where nothing is predicted"
