"""Which variant wins, and why: every rule by a case made by hand."""

import pytest

from engine.errors import BadInput
from engine.judge.limits import LIMITS, check, in_words, judge, kept, placed
from engine.judge.recommend import recommend
from engine.vocabulary import Constraints, Estimate, Goal, Host, Latency, Variant, Weights

DEVICE = "raspberry_pi_4"


def variant(
    name: str,
    mb: float,
    ms: float,
    test: float,
    validation: float | None = None,
    estimate: tuple | None = None,
    **changes,
) -> Variant:
    """Returns a finished variant. estimate: middle latency, upper latency, memory in MB."""
    estimates = {}
    if estimate:
        middle, high, memory = estimate
        estimates[DEVICE] = Estimate(
            device=DEVICE,
            runtime="onnxruntime",
            precision="float32",
            threads=1,
            latency_ms=middle,
            low_ms=middle / 2,
            high_ms=high,
            memory_mb=memory,
            memory_high_mb=2 * memory,
            energy_mj=middle * 3,
        )
    fields = {
        "id": name,
        "technique": name.split("@")[0],
        "status": "done",
        "accuracy": test,
        "accuracy_drop_pp": round(100 * (0.99 - test), 6),
        "validation_accuracy": test if validation is None else validation,
        "size_bytes": int(mb * 1e6),
        "test_images": 1000,
        "p_value": 0.01,
        "host": Host(
            runtime="onnxruntime", runtime_version="1", threads=1, latency_ms=Latency(p50=ms, p95=ms, p99=ms)
        ),
        "estimates": estimates,
    }
    return Variant(**(fields | changes))


BASELINE = variant("baseline", 4.0, 8.0, 0.99)
INT8 = variant("ptq_int8", 1.0, 4.0, 0.988)
PRUNED = variant("prune_structured@0.7", 0.8, 1.0, 0.975)
TINY = variant("hybrid@smallest", 0.1, 7.0, 0.972)
ALL = [BASELINE, INT8, PRUNED, TINY]


def choose(variants=ALL, goal=Goal.balanced, cautious=False, **limits):
    return recommend(variants, Constraints(**limits), goal, DEVICE, cautious)


@pytest.mark.parametrize(
    ("goal", "order"),
    [
        (Goal.size, ["hybrid@smallest", "prune_structured@0.7", "ptq_int8", "baseline"]),
        (Goal.speed, ["prune_structured@0.7", "ptq_int8", "hybrid@smallest", "baseline"]),
        (Goal.accuracy, ["baseline", "ptq_int8", "prune_structured@0.7", "hybrid@smallest"]),
        # balanced, by hand: (ln size ratio + ln speed ratio) / 2 − ln 2 · pp lost: 0.90, 0.80, 0.66, 0
        (Goal.balanced, ["ptq_int8", "prune_structured@0.7", "hybrid@smallest", "baseline"]),
    ],
)
def test_each_goal_ranks_by_its_own(goal, order):
    assert choose(goal=goal).ranking == order


def test_the_ranking_looks_at_validation_and_never_at_test():
    lucky = variant("fp16", 1.0, 4.0, 0.995, validation=0.90)
    steady = variant("ptq_int8", 1.0, 4.0, 0.970, validation=0.99)
    for goal in (Goal.accuracy, Goal.balanced):
        assert choose([BASELINE, lucky, steady], goal).winner in ("ptq_int8", "baseline")
        assert choose([BASELINE, lucky, steady], goal).ranking.index("ptq_int8") < choose(
            [BASELINE, lucky, steady], goal
        ).ranking.index("fp16")
    # and the limit on accuracy looks at what is reported
    assert "ptq_int8" not in choose([BASELINE, lucky, steady], max_accuracy_drop_pp=1).ranking


def test_a_limit_keeps_out_what_breaks_it_and_says_by_how_much():
    assert check(PRUNED, Constraints(max_accuracy_drop_pp=1), DEVICE) == (
        "no",
        {"max_accuracy_drop_pp": pytest.approx(0.5)},
    )
    assert check(PRUNED, Constraints(max_accuracy_drop_pp=1.5), DEVICE) == (
        "yes",
        {},
    )  # exactly at the limit is within it
    assert check(PRUNED, Constraints(max_accuracy_drop_pp=1, max_size_mb=0.5), DEVICE)[1] == {
        "max_accuracy_drop_pp": pytest.approx(0.5),
        "max_size_mb": pytest.approx(0.3),
    }
    assert choose(max_accuracy_drop_pp=1).ranking == ["ptq_int8", "baseline"]


def test_what_did_not_finish_is_never_admissible():
    failed = variant("fp16", 0.01, 0.1, 0.99, status="failed", reason="it crashed")
    assert check(failed, Constraints(), DEVICE) == ("no", {})
    assert "fp16" not in choose([*ALL, failed]).ranking
    assert choose([failed]).winner is None and choose([]).ranking == []


def test_without_an_estimate_a_limit_is_unknown_and_ranks_behind():
    known = variant("baseline", 4.0, 8.0, 0.99, estimate=(8, 9, 50))
    unknown = variant("ptq_int8", 1.0, 4.0, 0.99)
    assert check(unknown, Constraints(max_latency_ms=10), DEVICE) == ("unknown", {})
    assert choose([known, unknown], Goal.size, max_latency_ms=10).ranking == ["baseline", "ptq_int8"]
    assert choose([known, unknown], Goal.size).ranking == ["ptq_int8", "baseline"]
    # one broken limit is enough to know
    assert check(unknown, Constraints(max_latency_ms=10, max_size_mb=0.5), DEVICE)[0] == "no"


def test_cautious_takes_the_upper_end():
    close = variant("ptq_int8", 1.0, 4.0, 0.99, estimate=(9, 12, 60))
    limits = {"max_latency_ms": 10}
    assert check(close, Constraints(**limits), DEVICE) == ("yes", {})
    assert check(close, Constraints(**limits), DEVICE, cautious=True) == (
        "no",
        {"max_latency_ms": pytest.approx(2)},
    )
    assert check(close, Constraints(max_memory_mb=100), DEVICE)[0] == "yes"
    assert check(close, Constraints(max_memory_mb=100), DEVICE, cautious=True) == (
        "no",
        {"max_memory_mb": pytest.approx(20)},
    )
    assert check(close, Constraints(max_energy_mj=20), DEVICE) == ("no", {"max_energy_mj": pytest.approx(7)})


def test_speed_goes_by_the_device_where_it_is_known():
    here_slow = variant("ptq_int8", 1.0, 9.0, 0.99, estimate=(2, 3, 50))
    here_fast = variant("fp16", 2.0, 4.0, 0.99, estimate=(20, 30, 50))
    base = variant("baseline", 4.0, 8.0, 0.99, estimate=(16, 20, 50))
    assert choose([base, here_slow, here_fast], Goal.speed).ranking == ["ptq_int8", "baseline", "fp16"]


def test_without_a_limit_on_accuracy_a_wreck_is_ranked_last():
    wreck = variant("ptq_int4", 0.001, 0.01, 0.2)
    for goal in (Goal.size, Goal.speed, Goal.balanced):
        assert choose([*ALL, wreck], goal).ranking[-1] == "ptq_int4"
    assert (
        choose([*ALL, wreck], Goal.size, max_accuracy_drop_pp=100).winner == "ptq_int4"
    )  # who asks for it gets it


def test_the_binding_limit_is_the_one_that_costs_most():
    assert choose(goal=Goal.size, max_accuracy_drop_pp=1).binding == "max_accuracy_drop_pp"
    assert choose(goal=Goal.size, max_size_mb=10).binding is None
    both = choose(goal=Goal.accuracy, max_size_mb=2, max_accuracy_drop_pp=50)
    assert both.winner == "ptq_int8" and both.binding == "max_size_mb"


def test_a_flip_really_flips():
    limits = {"max_accuracy_drop_pp": 1.0, "max_size_mb": 3.0}
    found = choose(goal=Goal.size, **limits)
    assert found.winner == "ptq_int8" and found.flips
    for flip in found.flips:
        again = choose(goal=Goal.size, **(limits | {flip.constraint: flip.to}))
        assert (again.winner or "") == flip.winner != found.winner, flip.text
    looser = [f for f in found.flips if f.constraint == "max_accuracy_drop_pp" and f.to > 1]
    assert (
        looser[0].to == pytest.approx(1.5) and looser[0].winner == "prune_structured@0.7"
    )  # the least that is needed


def test_when_nothing_is_left_the_nearest_is_named_with_its_miss():
    found = choose(max_size_mb=0.05, max_accuracy_drop_pp=0.5)
    assert (found.winner, found.ranking, found.nearest) == (None, [], "hybrid@smallest")
    assert found.reasons[0] == "No variant meets all your limits."
    assert (
        "0.05 MB over your limit of 0.05" in found.reasons[1]
        and "1.3 pp over your limit of 0.5" in found.reasons[1]
    )
    assert found.picks == {"quality": None, "balanced": None, "compact": None}


def test_what_fell_to_chance_is_never_recommended():
    """By size alone it would win, and be nearest where nothing keeps a limit."""
    broken = variant("hybrid@smallest", 0.01, 0.1, 0.1, usable=False)
    found = recommend([BASELINE, INT8, broken], Constraints(), Goal.size, DEVICE)
    assert (found.winner, found.picks["compact"]) == ("ptq_int8", "ptq_int8")
    assert "hybrid@smallest" not in found.ranking
    assert check(broken, Constraints(), DEVICE) == ("no", {})
    assert choose([BASELINE, INT8, broken], max_size_mb=0.005).nearest == "ptq_int8"


def test_picks_are_the_winners_of_three_goals():
    assert choose().picks == {"quality": "baseline", "balanced": "ptq_int8", "compact": "hybrid@smallest"}


def test_nothing_is_most_accurate_where_no_image_had_a_label():
    blind = [
        v.model_copy(update={"validation_accuracy": None, "accuracy": None, "accuracy_drop_pp": None})
        for v in (BASELINE, INT8)
    ]
    assert choose(blind).picks == {"quality": None, "balanced": "ptq_int8", "compact": "ptq_int8"}


def test_reasons_do_not_call_noise_a_difference():
    noisy = variant("ptq_int8", 1.0, 4.0, 0.988, p_value=0.6)
    assert "can't tell from zero" in choose([BASELINE, noisy]).reasons[0]
    assert "can't tell from zero" not in choose([BASELINE, INT8]).reasons[0]
    assert (
        "4 times smaller" in choose([BASELINE, INT8]).reasons[0]
        and "2 times faster" in choose([BASELINE, INT8]).reasons[0]
    )
    assert choose([BASELINE]).reasons[0].startswith("Your model as it is")


def test_without_labelled_images_it_still_ranks():
    blind = [
        v.model_copy(
            update={"accuracy": None, "accuracy_drop_pp": None, "validation_accuracy": None, "p_value": None}
        )
        for v in (BASELINE, INT8)
    ]
    found = choose(blind)
    assert found.winner == "ptq_int8" and "accuracy that was not measured" in found.reasons[0]
    assert check(blind[1], Constraints(max_accuracy_drop_pp=1), DEVICE)[0] == "unknown"


def test_judge_writes_the_verdict_into_the_variant(asked):
    judged = judge(PRUNED, asked(constraints=Constraints(max_size_mb=0.5)))
    assert (judged.admissible, judged.misses) == ("no", {"max_size_mb": pytest.approx(0.3)})
    assert PRUNED.admissible == "unknown"


def test_an_equal_score_is_settled_the_same_way_every_time():
    twins = [BASELINE, variant("b", 1.0, 4.0, 0.99), variant("a", 1.0, 4.0, 0.99)]
    assert choose(twins).ranking == choose(twins[::-1]).ranking == ["a", "b", "baseline"]


def test_the_count_of_broken_limits_is_cautious_where_the_choice_is():
    base = variant("baseline", 4.0, 8.0, 0.99, estimate=(5, 6, 50))
    close = variant("ptq_int8", 1.0, 4.0, 0.99, estimate=(9, 12, 60))
    sure = choose([base, close], cautious=True, max_latency_ms=10).reasons
    assert "1 of 2 variants breaks a limit." in sure
    assert not any("break a limit" in r for r in choose([base, close], max_latency_ms=10).reasons)


def test_what_does_not_run_there_breaks_no_limit():
    from estimator.capability import Capability

    lost = variant(
        "dynamic_int8", 1.0, 4.0, 0.99, capability=Capability(answer="pointless", why="It is refused.")
    )
    found = choose([BASELINE, lost], max_size_mb=5)
    assert found.ranking == ["baseline"] and not any("break a limit" in r for r in found.reasons)


@pytest.mark.parametrize("goal", [*Goal])
def test_what_leaves_the_accelerator_idle_does_not_win_while_anything_runs_on_it(goal):
    from estimator.capability import Capability

    off = Capability(answer="falls back", why="The Edge TPU takes only full INT8.", off_unit=True)
    on = Capability(answer="supported")
    base = variant("baseline", 4.0, 8.0, 0.99, capability=off)
    small = variant("hybrid@smallest", 0.1, 0.5, 0.989, capability=off)
    full = variant("ptq_int8", 1.0, 4.0, 0.98, capability=on)
    found = choose([base, small, full], goal)
    assert found.winner == "ptq_int8" and found.ranking[-1] != "ptq_int8"
    assert any("hybrid@smallest" in r or "baseline" in r for r in found.reasons if "idle" in r)
    # where nothing does, or only what lost its accuracy, the others stand as they are
    assert choose([base, small], Goal.size).winner == "hybrid@smallest"
    lost = variant("ptq_int8", 0.05, 4.0, 0.5, capability=on)
    assert choose([base, small, lost], Goal.size).winner == "hybrid@smallest"


def test_there_is_one_table_of_limits():
    assert list(LIMITS) == [name for name in Constraints.model_fields if not name.startswith("recall_")]


def test_a_least_recall_is_kept_missed_and_flipped_the_other_way_round():
    low = variant("fp16", 1.0, 4.0, 0.99, worst_class_recall=0.8)
    high = variant("baseline", 4.0, 8.0, 0.99, worst_class_recall=0.95)
    assert check(high, Constraints(min_recall=0.95), DEVICE) == ("yes", {})
    assert check(low, Constraints(min_recall=0.9), DEVICE) == ("no", {"min_recall": pytest.approx(0.1)})
    assert check(BASELINE, Constraints(min_recall=0.9), DEVICE)[0] == "unknown"
    found = choose([high, low], Goal.size, min_recall=0.9)
    assert (found.winner, found.binding) == ("baseline", "min_recall")
    allow, ask = found.flips
    assert (allow.to, allow.winner) == (0.8, "fp16") and "recall of the worst class of 0.8 and" in allow.text
    assert (ask.to, ask.winner) == (0.951, "") and "nothing is left" in ask.text
    for flip in found.flips:
        again = choose([high, low], Goal.size, min_recall=flip.to)
        assert (again.winner or "") == flip.winner
    near = choose([high, low], Goal.size, min_recall=0.99)
    assert near.nearest == "baseline" and "0.95, 0.04 under your limit of 0.99" in near.reasons[1]


def test_below_a_floor_of_accuracy_nothing_is_recommended():
    weak = variant("ptq_int4", 0.5, 4.0, 0.88, accuracy=0.88, accuracy_low=0.86)
    good = variant("ptq_int8", 1.0, 5.0, 0.97, accuracy=0.97, accuracy_low=0.91)
    assert choose([weak, good], Goal.size, min_accuracy=0.9).winner == "ptq_int8"
    assert choose([weak], Goal.size, min_accuracy=0.9).winner is None
    assert kept(good, Constraints(min_accuracy=0.9)) == {"min_accuracy": "sure"}
    assert kept(good, Constraints(min_accuracy=0.95)) == {"min_accuracy": "measured"}


def test_the_recall_of_one_class_is_a_limit_with_the_name_of_its_class():
    classes = ["cat", "dog"]
    counts = [[900, 100], [20, 980]]
    good = variant("ptq_int8", 1.0, 4.0, 0.98, per_class_recall=[0.9, 0.98], confusion=counts)
    base = variant("baseline", 4.0, 8.0, 0.99, per_class_recall=[0.95, 0.99], confusion=counts)
    of_cat = placed(Constraints(min_class_recall=0.93, recall_class="cat"), classes)
    of_dog = placed(Constraints(min_class_recall=0.93, recall_class="dog"), classes)
    assert check(good, of_cat, DEVICE) == ("no", {"min_class_recall": pytest.approx(0.03)})
    assert check(good, of_dog, DEVICE) == ("yes", {}) and kept(good, of_dog) == {"min_class_recall": "sure"}
    found = recommend([base, good], of_cat, Goal.size, DEVICE)
    assert found.winner == "baseline" and any("recall of class 'cat'" in text for text in found.reasons)
    assert in_words(of_cat) == "recall of class 'cat' ≥ 0.93"
    for wrong in ({"min_class_recall": 0.9}, {"recall_class": "cat"}):
        with pytest.raises(BadInput, match="needs both"):
            placed(Constraints(**wrong), classes)
    with pytest.raises(BadInput, match="choose one of cat, dog"):
        placed(Constraints(min_class_recall=0.9, recall_class="cow"), classes)


def test_what_is_lost_on_damaged_pictures_is_a_limit_where_it_was_measured():
    weak, steady = (variant(n, 1.0, 4.0, 0.98, robust_drop_pp=d) for n, d in (("a", 12.0), ("b", 5.0)))
    limits = Constraints(max_robust_drop_pp=10)
    assert check(weak, limits, DEVICE) == ("no", {"max_robust_drop_pp": 2.0})
    assert check(steady, limits, DEVICE)[0] == "yes" and check(INT8, limits, DEVICE)[0] == "unknown"
    assert recommend([BASELINE, weak, steady], limits, Goal.size, DEVICE).winner == "b"


def test_weights_move_the_balance_and_the_reason_says_so():
    usual = recommend(ALL, Constraints(), Goal.balanced, DEVICE)
    moved = recommend(ALL, Constraints(), Goal.balanced, DEVICE, weights=Weights(size=4, accuracy=0.25))
    assert (usual.winner, moved.winner) == ("ptq_int8", "hybrid@smallest")
    assert any("size counts 4, speed 1 and accuracy 0.25" in reason for reason in moved.reasons)
    # they are the balanced goal's alone
    for goal in (Goal.size, Goal.speed, Goal.accuracy):
        assert (
            recommend(ALL, Constraints(), goal, DEVICE, weights=Weights(size=4)).winner
            == choose(goal=goal).winner
        )
