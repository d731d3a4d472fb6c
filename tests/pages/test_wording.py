"""Figures read as UI.md demands."""

import pytest

from pages.parts import wording as w

N = w.NBSP


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (386.4, "386"),
        (3.1, "3.10"),
        (0.01234, "0.0123"),
        (9.996, "10.0"),
        (1234567, "1,230,000"),
        (None, "–"),
        (float("nan"), "–"),
        (-2.5, "-2.50"),
    ],
)
def test_three_significant_figures(value, text):
    assert w.figure(value) == text


@pytest.mark.parametrize(
    "count, text",
    [
        (386_000, f"386{N}kB"),
        (999, f"999{N}B"),
        (1_000_000, f"1.00{N}MB"),
        (999_999, f"1.00{N}MB"),
        (40_534_000, f"40.5{N}MB"),
        (None, "–"),
    ],
)
def test_sizes_are_powers_of_ten(count, text):
    assert w.size(count) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.42, f"0.4{N}s"),
        (12.4, f"12{N}s"),
        (200, f"3{N}min 20{N}s"),
        (60, f"1{N}min"),
        (3900, f"1{N}h 5{N}min"),
        (None, "–"),
        (9.97, f"10{N}s"),
        (59.7, f"1{N}min"),
    ],
)
def test_durations(seconds, text):
    assert w.duration(seconds) == text


def test_percent_has_the_decimals_its_interval_deserves():
    assert w.percent(0.9929, 0.991, 0.994) == f"99.29{N}%"
    assert w.percent(0.9929, 0.97, 1.0) == f"99.3{N}%"


def test_times():
    assert w.times(105.3) == f"105{N}times"
    assert w.times(9.84) == f"9.8{N}times"


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "1"), (8.2, "8"), (11, "10"), (58, "about 1 min"), (204, "3 min 20 s")]
)
def test_expected_times_are_no_finer_than_they_can_be_known(seconds, text):
    assert text in w.about(seconds).replace(N, " ")
