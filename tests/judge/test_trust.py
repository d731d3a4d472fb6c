"""Confidence: how far off it is, and the threshold below which a person is asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from engine.errors import BadInput
from engine.judge import trust
from engine.vocabulary import Answered, Variant

RANDOM = np.random.default_rng(0)


def points(sure, right, test_sure=None, test_right=None):
    shown = (sure, right) if test_sure is None else (test_sure, test_right)
    return [Answered(**point) for point in trust.curve((sure, right), shown)]


def test_confidence_is_the_largest_probability():
    scores = RANDOM.normal(size=(5, 4)).astype(np.float32) * 30
    np.testing.assert_allclose(
        trust.confidence(scores, "logits"), softmax(scores, axis=1).max(axis=1), rtol=1e-5
    )
    shares = softmax(scores, axis=1)
    np.testing.assert_allclose(trust.confidence(shares, "probabilities"), shares.max(axis=1))
    assert trust.confidence(np.array([[1.004, -0.004]]), "probabilities")[0] == 1.0  # as INT8 rounds it
    broken = np.array([[np.nan, 1.0], [np.inf, 0.0], [1.0, 0.0]])
    for outputs in ("logits", "probabilities"):
        sure = trust.confidence(broken, outputs)
        assert ((sure >= 0) & (sure <= 1)).all() and sure[0] == 0.0


def test_calibration_error_by_hand():
    sure = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    right = np.array([1, 1, 1, 0, 1, 0], bool)
    # four images say 0.9 and 0.75 are right; two say 0.5 and half are right
    assert trust.calibration_error(sure, right) == pytest.approx(4 / 6 * 0.15)
    assert trust.calibration_error(np.ones(3), np.ones(3, bool)) == 0.0


def test_a_threshold_reaches_what_is_asked_on_the_images_that_choose_it():
    sure = RANDOM.random(2000)
    right = RANDOM.random(2000) < sure  # perfectly calibrated
    found = points(sure, right)
    assert found[0].confidence == 0 and found[0].validation_share == 1.0
    for wanted in (0.6, 0.8, 0.95):
        chosen = trust.threshold(found, wanted)
        assert chosen.validation_accuracy >= wanted
        assert not any(
            p.validation_share > chosen.validation_share and p.validation_accuracy >= wanted for p in found
        )
    assert trust.threshold(found, 1.0) is None or trust.threshold(found, 1.0).validation_accuracy == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_a_curve_falls_in_what_it_answers(rows):
    sure, right = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    found = points(sure, right)
    shares = [p.validation_share for p in found]
    assert found and shares == sorted(shares, reverse=True) and shares[0] == 1.0
    assert 0 <= trust.calibration_error(sure, right) <= 1


def test_no_test_image_chooses_a_threshold():
    sure, right = RANDOM.random(200), RANDOM.random(200) < 0.5
    one = points(sure, right, np.ones(10), np.ones(10, bool))
    other = points(sure, right, np.zeros(10), np.zeros(10, bool))
    assert [p.confidence for p in one] == [p.confidence for p in other]
    assert trust.threshold(one, 0.4) and other[-1].test_accuracy is None


def test_errors_are_halved_where_confidence_tells_them():
    sure = np.concatenate([np.full(60, 0.9), np.full(40, 0.6)])
    right = np.concatenate([np.ones(58), np.zeros(2), np.ones(30), np.zeros(10)]).astype(bool)
    point = trust.halved(points(sure, right))
    assert 0.6 < point.confidence <= 0.9 and point.validation_accuracy >= 0.94
    assert trust.halved(points(sure, np.ones(100, bool))) is None and trust.halved([]) is None


def test_who_asks_for_more_than_any_confidence_gives_is_told_the_most():
    shares = [(0.0, 1.0, 0.95), (0.7, 0.9, 0.98)]
    answered = [
        Answered(confidence=at, validation_share=s, validation_accuracy=a, test_share=s, test_accuracy=a)
        for at, s, a in shares
    ]
    made = Variant(id="fp16", technique="fp16", status="done", answered=answered)
    assert trust.asked_below(made, None) is None
    assert trust.asked_below(made, 0.97).confidence == 0.7
    for variant, reach, says in (
        (made, 0.99, "the most is 98.0 %"),
        (made, 99, "at most 100"),
        (Variant(id="fp16", technique="fp16", status="done"), 0.9, "was not measured"),
    ):
        with pytest.raises(BadInput, match=says):
            trust.asked_below(variant, reach)
