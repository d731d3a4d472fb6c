"""Calibration with the user's own measurements."""

import json
import os
from math import log

import pytest
from pydantic import ValidationError

from engine.errors import BadInput
from engine.store.calibrations import add_calibration, calibration_of
from estimator.calibrate import BenchmarkResult, Measured, calibrate, correction
from estimator.predict import estimate
from estimator.types import Calibration


def corrected(pairs):
    """The correction that measured and predicted milliseconds give."""
    return correction("litert", "float32", 4, tuple(Measured(a, b, 0.4) for a, b in pairs))


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
    assert after.low_ms < before.latency_ms * 1.6 < after.high_ms
    assert after.high_ms / after.low_ms < 1.1 * before.high_ms / before.low_ms
    assert after.calibrated_with == 3 and after.why.startswith("Calibrated with 3 of your measurements")


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_exact_multiples_give_that_multiple_the_closer_the_more(factor):
    off = []
    for n in (1, 3, 10):
        found = corrected([(factor * ms, ms) for ms in range(10, 10 + n)])
        off.append(abs(log(found.apply(12, 0.4)[0] / 12 / factor)))
    assert off == sorted(off, reverse=True) and off[-1] < 0.02


def test_a_small_difference_is_believed_less_than_a_large_one():
    small, large = (log(corrected([(f * 10, 10)]).ratio) / log(f) for f in (1.1, 4.0))
    assert small < 0.3 < 0.8 < large < 1


def test_scatter_widens_and_agreement_narrows_but_never_to_nonsense():
    agreeing, scattered = ([(10 * f, 10)] * 2 + [(10 / f, 10)] * 2 for f in (1.01, 3.0))
    before = 0.4
    narrow, wide = (corrected(pairs).apply(10, before)[1] for pairs in (agreeing, scattered))
    assert narrow < before < wide < 6 * before
    halves = [corrected(agreeing * n).apply(10, before)[1] for n in (1, 3, 10)]
    assert halves == sorted(halves, reverse=True)


def test_slower_stays_slower_whatever_was_measured():
    found = corrected([(100, 1), (10, 10), (1, 100)])
    times = [found.apply(ms, 0.4)[0] for ms in (0.01, 1, 10, 100, 10_000)]
    assert times == sorted(times)


def test_one_wild_measurement_moves_little():
    assert corrected([(10, 10)] * 4 + [(1000, 10)]).ratio < 1.5


def test_other_precisions_and_runtimes_stay_as_they_were(three, separable):
    found = calibrate((result(three, 1.6),))
    for precision, file_format in (("int8", "tflite"), ("float32", "onnx")):
        profile = separable(precision, file_format)
        assert estimate(profile, "raspberry_pi_4", calibration=found) == estimate(profile, "raspberry_pi_4")
    one = [estimate(separable(), "raspberry_pi_4", threads=1, calibration=c) for c in (found, None)]
    assert one[0] == one[1]


def test_a_file_counts_once_and_the_last_stands(three):
    found = calibrate((result(three, 3.0), result(three, 1.5)))
    assert found.corrections[0].measurements == 3
    assert found == calibrate((result(three, 1.5),))


def test_it_goes_to_json_and_back(three):
    found = calibrate((result(three, 1.2),))
    assert Calibration.model_validate_json(found.model_dump_json()) == found


def test_results_of_several_models_are_kept_together_or_not_at_all(three, workspace, tmp_path):
    paths = [tmp_path / f"{i}.json" for i in range(3)]
    for i, path in enumerate(paths):
        one = result(three, 1.6).model_dump(mode="json")
        path.write_text(json.dumps({**one, "models": one["models"][i : i + 1]}))
    with pytest.raises(BadInput, match="toast.json"):
        add_calibration("raspberry_pi_4", [*paths, tmp_path / "toast.json"], workspace)
    assert calibration_of("raspberry_pi_4", workspace) is None
    assert add_calibration("raspberry_pi_4", paths, workspace)["measurements"] == 3
    (found,) = calibration_of("raspberry_pi_4", workspace).corrections
    (at_once,) = calibrate((result(three, 1.6),)).corrections
    assert (found.ratio, found.left) == pytest.approx((at_once.ratio, at_once.left))


def test_a_model_that_is_measured_again_is_as_it_was_measured_last(three, workspace, tmp_path):
    path, kept = tmp_path / "result.json", workspace.home / "calibration" / "raspberry_pi_4"
    for factor in (4.0, 2.0, 3.0, 1.5):
        for earlier in kept.glob("*.json"):
            os.utime(earlier, (earlier.stat().st_mtime - 10,) * 2)
        path.write_text(result(three, factor).model_dump_json())
        add_calibration("raspberry_pi_4", [path], workspace)
        assert calibration_of("raspberry_pi_4", workspace) == calibrate((result(three, factor),))


def test_devices_are_not_mixed(three):
    with pytest.raises(ValueError, match="one device"):
        calibrate((result(three, 1.2), result(three, 1.2, "raspberry_pi_3b")))


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_nonsense_is_refused(three, bad):
    good = result(three, 1.0).model_dump()
    good["models"][0]["latency_ms"]["p50"] = bad
    with pytest.raises(ValidationError):
        BenchmarkResult.model_validate(good)
