"""Figures against published tables and hand calculation."""

import zlib
from math import comb

import numpy as np
import pytest

from engine.judge import measure


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", Table I, method 3 (score without
# correction)
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_the_published_one(successes, n, low, high):
    assert measure.wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_holds_at_the_ends():
    assert measure.wilson_interval(20, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)
    assert measure.wilson_interval(0, 0) == (0.0, 1.0)
    low, high = measure.wilson_interval(357, 359)
    assert low < 357 / 359 < high < 1
    narrow, wide = measure.wilson_interval(50, 100, 0.90), measure.wilson_interval(50, 100, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def answers(lost: int, won: int, both: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Returns who was right where, for a baseline and a variant."""
    baseline = np.array([True] * lost + [False] * won + [True] * both)
    variant = np.array([False] * lost + [True] * won + [True] * both)
    return baseline, variant


# two-sided exact binomial tests at 1/2, by hand: 2 · Σ C(n, i) / 2ⁿ
@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (0, 0, 1.0),
        (1, 5, 2 * (1 + 6) / 64),
        (5, 1, 2 * (1 + 6) / 64),
        (10, 0, 2 / 1024),
        (3, 3, 1.0),
        (1, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(lost, won, p):
    assert measure.mcnemar_p(*answers(lost, won)) == pytest.approx(p, rel=1e-12)


def test_mcnemar_of_many_disagreements():
    n, k = 1065, 465
    exact = 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert measure.mcnemar_p(*answers(600, 465)) == pytest.approx(exact, rel=1e-9)


def test_mcnemar_hears_only_disagreements():
    assert measure.mcnemar_p(*answers(8, 2, both=0)) == measure.mcnemar_p(*answers(8, 2, both=10_000))


def test_classification_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    baseline = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 2])
    found = measure.classification(predicted, labels, baseline, 4)
    assert found["accuracy"] == pytest.approx(4 / 6)
    # a class without images has no recall, and keeps its place
    assert found["per_class_recall"] == [pytest.approx(2 / 3), pytest.approx(1 / 2), 1, None]
    assert found["worst_class_recall"] == pytest.approx(1 / 2)
    assert found["confusion"] == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert found["accuracy_drop_pp"] == pytest.approx(100 * 2 / 6, abs=1e-5)
    assert found["p_value"] == pytest.approx(2 * 1 / 4)
    assert (found["accuracy_low"], found["accuracy_high"]) == measure.wilson_interval(4, 6)


def test_recall_stays_with_its_class_where_one_before_it_has_no_images():
    found = measure.classification(np.array([0, 2, 0, 2]), np.array([0, 2, 2, 2]), None, 3)
    assert found["per_class_recall"] == [1, None, pytest.approx(2 / 3)]
    assert found["worst_class_recall"] == pytest.approx(2 / 3)


def test_without_a_baseline_nothing_is_lost():
    found = measure.classification(np.array([1, 1]), np.array([1, 0]), None, 2)
    assert (found["accuracy_drop_pp"], found["p_value"]) == (0.0, 1.0)


def test_percentiles_are_those_of_the_times():
    assert measure.percentiles(list(range(101))) == {"p50": 50, "p95": 95, "p99": 99}


def test_compressed_bytes_undo_to_the_file(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(bytes(10_000) + bytes(range(256)))
    assert measure.compressed_bytes(path) == len(zlib.compress(path.read_bytes())) < 400


def test_timing_takes_turns_and_leaves_the_warm_up_out():
    calls = []
    times = measure.time_interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, budget_s=0.0, rounds=400
    )
    assert len(times["a"]) == len(times["b"]) == 20
    assert "".join(calls).endswith("aabb" * 20)
    warm_up = "".join(calls)[:-80]
    assert warm_up.count("a") >= 5 and warm_up.count("b") >= 5


def test_timing_stops_at_its_budget():
    import time

    began = time.perf_counter()
    times = measure.time_interleaved({"slow": lambda: time.sleep(0.01)}, budget_s=0.6, rounds=10_000)
    assert time.perf_counter() - began < 2
    assert 20 <= len(times["slow"]) < 60
    assert all(t >= 10 for t in times["slow"])


@pytest.mark.parametrize(
    "before, after, fell",
    [(0.98, 0.17, True), (0.98, 0.60, False), (0.22, 0.17, False), (0.98, 0.30, True), (0.98, 0.35, False)],
)
def test_a_fall_to_chance_is_told_by_what_is_left_above_it(before, after, fell):
    assert measure.fell_to_chance(before, after, np.arange(600) % 6) == fell


def test_chance_is_the_commonest_class_where_classes_are_uneven():
    labels = np.repeat([0, 1], [95, 5])
    assert not measure.fell_to_chance(0.97, 0.95, labels)
