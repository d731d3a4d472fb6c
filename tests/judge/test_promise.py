"""How sure a limit on accuracy is kept: the paired interval, the three verdicts, and what they change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.judge.limits import LIMITS, check, judged, kept
from engine.judge.measure import classification, paired_interval
from engine.judge.promise import images_needed, sentences
from engine.judge.recommend import recommend
from engine.vocabulary import Constraints, Goal
from tests.judge.test_recommend import BASELINE, DEVICE, variant


def pairs(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, lost, won, neither)
    return tuple(np.repeat(np.array(right), counts) for right in ((1, 1, 0, 0), (1, 0, 1, 0)))


def test_the_paired_interval_is_the_published_one():
    """The example of Newcombe 1998, table II, by his tenth method."""
    low, high = paired_interval(*(side.astype(bool) for side in pairs(36, 12, 2, 0)))
    assert (low, high) == (pytest.approx(0.0569, abs=1e-4), pytest.approx(0.3404, abs=1e-4))


@pytest.mark.parametrize("n, right, lost, won", [(359, 0.98, 0.008, 0.004), (2000, 0.9, 0.02, 0.005)])
def test_the_paired_interval_holds_as_often_as_it_says(n, right, lost, won):
    random, held = np.random.default_rng(1), []
    for counts in random.multinomial(n, [right - lost, lost, won, 1 - right - won], 400):
        low, high = paired_interval(*(side.astype(bool) for side in pairs(*counts)))
        held.append(low <= lost - won <= high)
    assert np.mean(held) >= 0.93


def test_the_baseline_loses_nothing_for_sure():
    labels = np.arange(10) % 3
    found = classification(labels, labels, None, 3)
    assert found["accuracy_drop_low_pp"] == found["accuracy_drop_high_pp"] == 0.0
    other = classification(labels, labels, labels, 3)
    assert other["accuracy_drop_pp"] == 0.0 < other["accuracy_drop_high_pp"]


SURE = variant("fp16", 2.0, 7.0, 0.99, accuracy_drop_low_pp=-0.4, accuracy_drop_high_pp=0.4)
MEASURED = variant("ptq_int8", 1.0, 4.0, 0.985, accuracy_drop_low_pp=0.0, accuracy_drop_high_pp=1.4)


@pytest.mark.parametrize(
    "limit, verdicts", [(2.0, ("sure", "sure")), (1.0, ("sure", "measured")), (0.2, ("measured", None))]
)
def test_a_limit_is_kept_for_sure_as_measured_or_missed(limit, verdicts):
    for one, verdict in zip((SURE, MEASURED), verdicts, strict=True):
        found = judged(one, Constraints(max_accuracy_drop_pp=limit), DEVICE)
        assert found.kept.get("max_accuracy_drop_pp") == verdict
        assert bool(found.misses) == (verdict is None)


def test_what_is_sure_goes_first_and_the_other_is_named():
    def choose(variants, limit, goal=Goal.balanced):
        return recommend(variants, Constraints(max_accuracy_drop_pp=limit), goal, DEVICE)

    found = choose([BASELINE, SURE, MEASURED], 1.0)
    assert found.ranking[0] == "fp16" and choose([BASELINE, SURE, MEASURED], 2.0).winner == "ptq_int8"
    assert any(reason.startswith("ptq_int8 does better for this goal") for reason in found.reasons)
    assert "with 95 % confidence it is at most 0.40 pp" in " ".join(found.reasons)
    # the model as it was given is no reason to take nothing, and stays the most accurate
    assert choose([BASELINE, MEASURED], 1.0).winner == "ptq_int8"
    assert choose([BASELINE, MEASURED], 1.0, Goal.accuracy).winner == "baseline"


def test_how_many_images_would_make_it_sure():
    """0.9 pp of doubt on 1,000 images, and 0.5 pp of room: (0.9 / 0.5)² as many."""
    assert images_needed(MEASURED, LIMITS["max_accuracy_drop_pp"], 1.0) == 3_300
    (sentence,) = sentences(MEASURED, Constraints(max_accuracy_drop_pp=1.0))
    assert "as measured: 1,000 test images only show at most 1.40 pp; about 3,300 would" in sentence
    assert images_needed(MEASURED, LIMITS["max_accuracy_drop_pp"], 0.5) is None


def test_the_recall_of_a_class_with_few_images_is_not_sure():
    few = variant("ptq_int8", 1, 1, 0.99, worst_class_recall=1.0, confusion=[[990, 0], [0, 10]])
    many = few.model_copy(update={"confusion": [[990, 0], [0, 1000]]})
    limits = Constraints(min_recall=0.9)
    assert (kept(few, limits), kept(many, limits)) == ({"min_recall": "measured"}, {"min_recall": "sure"})


@given(drop=st.floats(-5, 5), doubt=st.floats(0, 5), limit=st.floats(0, 5), looser=st.floats(0, 5))
def test_what_is_kept_stays_kept_when_the_limit_is_loosened(drop, doubt, limit, looser):
    one = SURE.model_copy(update={"accuracy_drop_pp": drop, "accuracy_drop_high_pp": drop + doubt})
    before, after = (Constraints(max_accuracy_drop_pp=most) for most in (limit, limit + looser))
    if check(one, before, DEVICE)[0] == "yes":
        assert check(one, after, DEVICE)[0] == "yes"
    if kept(one, before).get("max_accuracy_drop_pp") == "sure":
        assert kept(one, after)["max_accuracy_drop_pp"] == "sure"
