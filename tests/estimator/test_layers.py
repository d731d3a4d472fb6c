"""What each layer costs: parts of the prediction that add up to it."""

import numpy as np
import pytest

from estimator import features, layers
from estimator.fitting import forms
from estimator.predict import by_hand, estimate
from estimator.types import Calibration, Correction
from tests.estimator.networks import convolution, profile_of


@pytest.mark.parametrize("file_format", ["onnx", "tflite"])
@pytest.mark.parametrize("device", ["raspberry_pi_4", "raspberry_pi_5", "jetson_nano"])
def test_layers_add_up_to_the_prediction(device, file_format, separable):
    profile = separable(file_format=file_format)
    found = estimate(profile, device, by_layer=True)
    assert [la.name for la in found.layers][: len(profile.layers)] == [la.name for la in profile.layers]
    for whole, part in (("latency_ms", "ms"), ("low_ms", "low_ms"), ("high_ms", "high_ms")):
        assert sum(getattr(la, part) for la in found.layers) == pytest.approx(getattr(found, whole))
    assert all(la.ms > 0 and la.bound in layers.CAUSES and la.bytes_moved > 0 for la in found.layers[:24])
    assert estimate(profile, device).layers == (), "only where they are asked for"


def test_a_measured_device_adds_up_too(separable):
    mine = Correction(
        runtime="litert", precision="float32", threads=4, ratio=1.5, half_width=0.1, left=0.5, measurements=3
    )
    known = Calibration(device="raspberry_pi_4", corrections=(mine,))
    found = estimate(separable(), "raspberry_pi_4", calibration=known, by_layer=True)
    assert sum(la.ms for la in found.layers) == pytest.approx(found.latency_ms)


def test_what_is_fused_costs_nothing_and_what_is_larger_costs_more():
    relu = convolution("r", 64, 56).model_copy(
        update={"op": "RELU", "kind": "activation", "macs": 0, "parameters": 0, "weight_bytes": 0}
    )
    network = [convolution("small", 64, 28), relu, convolution("large", 64, 56)]
    found = estimate(profile_of(network, file_format="tflite"), "raspberry_pi_4", by_layer=True).layers
    small, fused, large, *_ = found
    assert (fused.ms, fused.bound) == (0, "nothing") and large.ms > 2 * small.ms


def test_every_term_is_shared_out_whole():
    terms = {t for form, _ in forms.CANDIDATES for t in form} | {"spilled", "pool_operations", "add_elements"}
    terms |= {"tile_macs", "gather_rows"}
    assert terms - {"overhead"} == set(layers.SHARED)
    sums = np.ones((3, len(features.SUMS)))
    assert layers.split(sums, dict.fromkeys(layers.SHARED, 1.0)).sum() == pytest.approx(len(layers.SHARED))


def test_a_whatif_has_no_layers():
    assert estimate(by_hand(10**8, 10**6), "raspberry_pi_4", by_layer=True).layers == ()
