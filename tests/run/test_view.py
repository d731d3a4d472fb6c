"""A run as a page shows it: a pure fold over what happened."""

import pytest

from engine import events
from engine.run.view import fold
from engine.vocabulary import Variant


def at(time: float, event: events.Event) -> events.Event:
    return event.model_copy(update={"time": time})


@pytest.fixture
def shown(asked):
    """Folds what happened to a run of two techniques, as of the time 100."""

    def show(*happened, variants=(), techniques=("fp16", "ptq_int4")):
        return fold("r", asked(techniques=list(techniques)), list(happened), list(variants), 100.0)

    return show


def line(view, name: str):
    return next(line for line in view.techniques if line.id == name)


def test_the_lines_come_in_the_order_of_the_work(shown):
    assert [x.id for x in shown().techniques] == ["baseline", "fp16", "sensitivity", "ptq_int4", "timing"]
    assert [x.id for x in shown(techniques=["fp16"]).techniques] == ["baseline", "fp16", "timing"]


def test_without_events_a_run_has_failed_and_can_be_shown(shown):
    view = shown()
    assert (view.state, view.elapsed_s, view.fraction, view.remaining_s) == ("failed", 0, 0, None)


def test_a_line_at_work_counts_till_now_and_an_ended_run_till_its_last_event(shown):
    happened = (
        at(10, events.StateChanged(state="running")),
        at(20, events.LineChanged(technique="fp16", status="working")),
        at(50, events.ProgressMade(technique="fp16", fraction=0.5, text="half", remaining_s=30)),
    )
    view = shown(*happened)
    fp16 = line(view, "fp16")
    assert (view.elapsed_s, fp16.elapsed_s, fp16.fraction, fp16.remaining_s) == (90, 80, 0.5, 30)
    view = shown(*happened, at(60, events.StateChanged(state="cancelled", reason="You cancelled it.")))
    assert (view.elapsed_s, line(view, "fp16").elapsed_s, view.reason) == (50, 40, "You cancelled it.")


def test_a_line_that_begins_anew_forgets_how_it_ended(shown):
    view = shown(
        at(1, events.StateChanged(state="running")),
        at(1, events.LineChanged(technique="fp16", status="working")),
        at(2, events.LineChanged(technique="fp16", status="failed", reason="it was killed")),
        at(90, events.LineChanged(technique="fp16", status="working")),
        at(1, events.ProgressMade(technique="telepathy", fraction=0.5)),
    )
    fp16 = line(view, "fp16")
    assert (fp16.status, fp16.reason, fp16.fraction, fp16.elapsed_s) == ("working", "", 0, 10)


def test_the_whole_is_weighed_by_what_each_line_is_expected_to_take(shown):
    expected = {"baseline": 10, "fp16": 10, "sensitivity": 0, "ptq_int4": 60, "timing": 20}
    view = shown(
        at(1, events.StateChanged(state="running")),
        at(1, events.PlanMade(seconds=expected)),
        at(2, events.LineChanged(technique="baseline", status="done")),
        at(2, events.LineChanged(technique="ptq_int4", status="working")),
        at(3, events.ProgressMade(technique="ptq_int4", fraction=0.5)),
    )
    assert (view.fraction, view.remaining_s) == (pytest.approx(0.4), pytest.approx(60))


def test_variants_stand_in_their_technique_s_line(shown):
    variants = [
        Variant(id=i, technique=t, status="done") for i, t in [("baseline", "baseline"), ("fp16", "fp16")]
    ]
    view = shown(variants=[*variants, Variant(id="x", technique="telepathy", status="done")])
    assert [v.id for x in view.techniques for v in x.variants] == ["baseline", "fp16"]
