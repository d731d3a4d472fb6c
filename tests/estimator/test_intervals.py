"""Intervals on families that neither the fit nor the calibration saw."""

import numpy as np
import pytest

from estimator import coefficients, confidence, features
from estimator.fitting import intervals
from estimator.fitting.fit import Group


@pytest.fixture
def groups():
    """Eight groups of 24 networks in 12 families; a family errs as a whole, groups err at scales of their
    own.
    """
    random = np.random.default_rng(4)
    x = np.exp(random.normal(0, 0.5, (24, len(features.NAMES))))
    family = np.repeat([f"f{i}" for i in range(12)], 2)
    made = []
    for number in range(8):
        error = np.repeat(random.laplace(0, 0.1, 12), 2) + random.laplace(0, 0.05, 24)
        group = Group(
            f"d{number}|ncnn|float32|4", x, np.ones(24), family, np.arange(24).astype(str), "p", False
        )
        group.held_out = np.exp(error * (1 + number % 3))
        made.append(group)
    return made


def test_families_that_were_left_out_are_covered(groups):
    intervals.calibrate(groups)
    held = np.concatenate([np.abs(g.errors) <= g.nested for g in groups])
    assert 0.85 <= held.mean() <= 0.96


def test_a_family_has_no_say_in_its_own_interval(groups):
    intervals.calibrate(groups)
    before = [g.nested.copy() for g in groups]
    for group in groups:
        group.held_out[group.family == "f3"] *= 5
    intervals.calibrate(groups)
    for group, was in zip(groups, before, strict=True):
        own = group.family == "f3"
        assert np.allclose(group.nested[own], was[own])
        assert (group.nested[~own] > was[~own]).any()


def test_few_networks_make_wider_intervals():
    assert intervals._few(5) == pytest.approx(1.27, abs=0.01)
    assert 1 < intervals._few(40) < 1.05 < intervals._few(3)


def test_an_edge_tpu_of_eight_networks_is_not_surer_than_what_many_showed():
    groups = coefficients.load()["groups"]
    few = groups["coral_dev_board|edgetpu|int8|1"]
    assert not confidence.gives_quantile(few["validation"]["networks"]) and confidence.gives_quantile(9)
    assert few["validation"]["interval_width"] > 1.4


def test_published_coverage_is_nested_and_near_90():
    table = [g["validation"] for g in coefficients.load()["groups"].values() if not g.get("reference")]
    rows = sum(entry["rows"] for entry in table)
    assert 0.88 <= sum(entry["coverage"] * entry["rows"] for entry in table) / rows <= 0.94
