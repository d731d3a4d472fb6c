"""What holds of every recommendation, whatever the variants and the limits are."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.judge.asked import validation_drop_pp
from engine.judge.limits import LIMITS, check, placed
from engine.judge.promise import is_sure
from engine.judge.recommend import recommend
from engine.vocabulary import Constraints, Goal, Variant, Weights
from tests.judge.test_recommend import DEVICE, variant

CLASSES = ["cat", "dog", "eel"]
# few values, so that ties and figures exactly at a limit are common
SHARES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99])
AMOUNTS = st.sampled_from([0.1, 0.1004, 0.5, 1.0, 2.0, 3.0, 8.0])


@st.composite
def made(draw, name="baseline"):
    """Returns a variant with any figures, some of them unknown."""
    rows = [[draw(st.integers(0, 9)) for _ in CLASSES] for _ in CLASSES]
    recalls = [row[i] / sum(row) if sum(row) else None for i, row in enumerate(rows)]
    ms = draw(AMOUNTS)
    return variant(
        name,
        draw(AMOUNTS),
        draw(AMOUNTS),
        draw(SHARES),
        draw(SHARES),
        draw(st.sampled_from([None, (ms, 1.5 * ms, 50.0)])),
        accuracy_low=draw(SHARES) - 0.05,
        accuracy_drop_high_pp=draw(AMOUNTS),
        confusion=rows,
        per_class_recall=recalls,
        worst_class_recall=min((r for r in recalls if r is not None), default=None),
        robust_drop_pp=draw(st.none() | AMOUNTS),
        usable=draw(st.integers(0, 9)) > 0,
    )


@st.composite
def asked(draw):
    """Returns variants, limits on anything, a goal and weights."""
    count = draw(st.integers(0, 5))
    found = [draw(made()), *(draw(made(f"v{i}")) for i in range(count))]
    named = draw(st.lists(st.sampled_from(list(LIMITS)), unique=True, max_size=3))
    limits = {name: draw(SHARES if name.startswith("min_") else AMOUNTS) for name in named}
    if "min_class_recall" in limits:
        limits["recall_class"] = draw(st.sampled_from(CLASSES))
    names = ("size", "speed", "accuracy")
    weights = Weights(**{name: draw(st.sampled_from([0.0, 0.5, 1.0, 1.0, 4.0])) for name in names})
    return found, placed(Constraints(**limits), CLASSES), draw(st.sampled_from(list(Goal))), weights


def costs(v: Variant, baseline: Variant, all_predicted: bool) -> tuple[float, float, float]:
    """Returns what the ranking looks at, less is better."""
    ms = v.estimates[DEVICE].latency_ms if all_predicted else v.host.latency_ms.p50
    return v.size_bytes, ms, validation_drop_pp(v, baseline)


@given(asked())
@settings(max_examples=150)
def test_no_admissible_variant_beats_the_winner_in_everything(case):
    found, limits, goal, weights = case
    # latencies are compared where both are of one kind
    kinds = {bool(v.estimates) for v in found}
    if len(kinds) > 1:
        found = [v.model_copy(update={"estimates": {}}) for v in found]
        kinds = {False}
    chosen = recommend(found, limits, goal, DEVICE, False, weights)
    winner = next((v for v in found if v.id == chosen.winner), None)
    if winner is None:
        assert all(check(v, limits, DEVICE)[0] == "no" for v in found)
        return
    ours = costs(winner, found[0], kinds == {True})
    for other in found:
        theirs = costs(other, found[0], kinds == {True})
        better = all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours
        sure = is_sure(other, limits) or not is_sure(winner, limits)
        assert not (better and sure and check(other, limits, DEVICE)[0] == "yes")


@given(asked(), st.sampled_from(list(LIMITS)), SHARES, SHARES)
@settings(max_examples=150)
def test_a_tighter_limit_admits_no_more(case, name, one, other):
    found, limits, *_ = case
    loose, tight = sorted((one, other), reverse=not LIMITS[name].is_least)
    by = [
        placed(limits.model_copy(update={name: value, "recall_class": "dog"}), CLASSES)
        if name == "min_class_recall"
        else limits.model_copy(update={name: value})
        for value in (loose, tight)
    ]
    for v in found:
        before, after = (check(v, constraints, DEVICE)[0] for constraints in by)
        assert {"yes": 0, "unknown": 1, "no": 2}[before] <= {"yes": 0, "unknown": 1, "no": 2}[after]


@given(asked())
@settings(max_examples=150)
def test_every_flip_is_true_when_it_is_applied(case):
    found, limits, goal, weights = case
    chosen = recommend(found, limits, goal, DEVICE, False, weights)
    for flip in chosen.flips:
        again = recommend(
            found, limits.model_copy(update={flip.constraint: flip.to}), goal, DEVICE, False, weights
        )
        assert (again.winner or "") == flip.winner != chosen.winner, flip.text


@given(asked(), st.integers(0, 2**16))
@settings(max_examples=100)
def test_the_order_of_the_variants_does_not_matter(case, seed):
    found, limits, goal, weights = case
    others = found.copy()
    random.Random(seed).shuffle(others)
    assert recommend(others, limits, goal, DEVICE, False, weights) == recommend(
        found, limits, goal, DEVICE, False, weights
    )
