"""Rules for ranges of activations and the 8-bit arithmetic that follows from them; plain NumPy, no
framework.
"""

import numpy as np
import pytest

from engine.backends.grid import packed
from engine.backends.tflite import calibrate
from engine.backends.tflite.integer import scale_and_zero
from tests.backends.packing import unpacked


@pytest.fixture(scope="module")
def outlier() -> tuple[np.ndarray, float, float]:
    """Counts of a hundred thousand normal numbers and one of 100, over their range."""
    values = np.append(np.random.default_rng(0).normal(size=100_000), 100.0)
    low, high = float(values.min()), float(values.max())
    return np.histogram(values, calibrate.BINS, (low, high))[0], low, high


@pytest.mark.parametrize("rule", [calibrate._percentile, calibrate._entropy])
def test_a_lone_outlier_is_clipped_and_the_rest_stays(outlier, rule):
    low, high = rule(*outlier)
    assert -5 < low < -2.5 and 2.5 < high < 15


@pytest.mark.parametrize("rule", [calibrate._percentile, calibrate._entropy])
def test_evenly_spread_values_are_hardly_clipped(rule):
    low, high = rule(np.full(calibrate.BINS, 100), -1.0, 1.0)
    assert low < -0.95 and high > 0.95


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (-3.0, 0.5), (0.0, 0.0)])
def test_zero_and_both_ends_have_codes(low, high):
    scale, zero = scale_and_zero(low, high)
    assert -128 <= zero <= 127
    for value in (low, 0.0, high):
        code = np.clip(round(value / scale) + zero, -128, 127)
        assert abs((code - zero) * scale - value) <= scale


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_packing_four_bits_goes_there_and_back(count):
    codes = np.random.default_rng(count).integers(-8, 8, count).astype(np.int8)
    assert len(packed(codes)) == -(-count // 2)
    assert np.array_equal(unpacked(packed(codes), count), codes)
