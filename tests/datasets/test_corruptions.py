"""Corruptions: the same every time, worse with each severity, and pictures still."""

import numpy as np
import pytest

from engine.datasets.corruptions import CORRUPTIONS, SEVERITIES, corrupted

RANDOM = np.random.default_rng(0)
SMOOTH = np.kron(RANDOM.integers(60, 190, (6, 6, 6)), np.ones((1, 6, 6))).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_each_is_a_picture_the_same_every_time_and_worse_with_severity(name, channels):
    images = np.repeat(SMOOTH[..., None], channels, axis=3)
    kept, lost = images.copy(), []
    for severity in range(SEVERITIES):
        made = corrupted(images, name, severity)
        assert made.shape == images.shape and made.dtype == np.uint8
        np.testing.assert_array_equal(made, corrupted(images, name, severity))
        lost.append(np.abs(made.astype(float) - images).mean())
    np.testing.assert_array_equal(images, kept)
    assert 0 < lost[0] < lost[1] < lost[2]
