"""Calibration with the user's own measurements."""

import pytest
from pydantic import ValidationError

from estimator.calibrate import BenchmarkResult, calibrate
from estimator.predict import estimate
from estimator.types import Calibration


def result(profiles, factor, device="raspberry_pi_4"):
    """A benchmark on a device that is `factor` times as slow as predicted."""
    models = [
        {
            "variant": f"v{i}",
            "sha256": f"{i:064x}",
            "profile": profile.model_dump(),
            "latency_ms": {"p50": factor * estimate(profile, device).latency_ms},
        }
        for i, profile in enumerate(profiles)
    ]
    return BenchmarkResult.model_validate(
        {
            "schema_version": 1,
            "device": device,
            "runtime": "litert",
            "threads": 4,
            "precision": "float32",
            "models": models,
        }
    )


@pytest.fixture
def three(separable):
    return [separable(blocks=n) for n in (8, 10, 12)]


def test_a_slow_board_is_believed(three, separable):
    found = calibrate((result(three, 1.6),))
    before = estimate(separable(blocks=9), "raspberry_pi_4")
    after = estimate(separable(blocks=9), "raspberry_pi_4", calibration=found)
    assert after.latency_ms == pytest.approx(before.latency_ms * 1.6, rel=0.15)
    assert after.high_ms / after.low_ms < before.high_ms / before.low_ms
    assert after.calibrated_with == 3 and after.why.startswith("Calibrated with 3 of your measurements")
    assert after.confidence > before.confidence


def test_one_measurement_moves_half_of_the_way(three):
    one = calibrate((result(three[:1], 4.0),)).corrections[0]
    assert one.ratio == pytest.approx(2.0) and one.measurements == 1


def test_other_precisions_and_runtimes_stay_as_they_were(three, separable):
    found = calibrate((result(three, 1.6),))
    for precision, file_format in (("int8", "tflite"), ("float32", "onnx")):
        profile = separable(precision, file_format)
        assert estimate(profile, "raspberry_pi_4", calibration=found) == estimate(profile, "raspberry_pi_4")


def test_a_file_counts_once_and_the_last_stands(three):
    found = calibrate((result(three, 3.0), result(three, 1.5)))
    assert found.corrections[0].measurements == 3
    assert found == calibrate((result(three, 1.5),))


def test_it_goes_to_json_and_back(three):
    found = calibrate((result(three, 1.2),))
    assert Calibration.model_validate_json(found.model_dump_json()) == found


def test_devices_are_not_mixed(three):
    with pytest.raises(ValueError, match="one device"):
        calibrate((result(three, 1.2), result(three, 1.2, "raspberry_pi_3b")))


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_nonsense_is_refused(three, bad):
    good = result(three, 1.0).model_dump()
    good["models"][0]["latency_ms"]["p50"] = bad
    with pytest.raises(ValidationError):
        BenchmarkResult.model_validate(good)
