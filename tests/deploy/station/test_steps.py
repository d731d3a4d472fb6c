"""The line's own steps, with a classifier that answers what the item says."""

import json
import sqlite3
import types

import pytest

from deploy.station.classify import Failed
from deploy.station.decide import rules
from deploy.station.drift import NAMES
from deploy.station.line import Habits, Line
from deploy.station.log import Log
from deploy.station.plc import FAULT, REACHED, RUNNING, STOPPED
from deploy.station.source import Source

NO_UPDATES = types.SimpleNamespace(
    change=lambda current: current, close=lambda: None, resume=lambda: None, rolled_back=False
)


class Answers:
    """Answers what stands in the item; fails where that says so, and is ready again when asked to be."""

    id, input, classes, metadata, is_ready = (
        "package",
        "28x28 grey",
        ["a", "b"],
        {"min_confidence": 0.8},
        True,
    )

    def ask(self, content):
        answer = json.loads(content)
        self.is_ready = not answer.get("dies")
        if answer.get("dies"):
            raise Failed("the classifier died")
        return answer

    def close(self):
        pass


def sorts(classes):
    return rules(classes, [], ["b"], None)


class Plc:
    """Notes the states that the line is alive in."""

    def __init__(self):
        self.states = []

    def alive(self, state, alarms):
        self.states.append(state)

    def signal(self, number, verdict):
        return REACHED

    def stop(self, state):
        self.states.append(state)


@pytest.fixture
def ran(tmp_path):
    """Returns the function that runs a line on answers and returns its events and the PLC's states."""

    def run(answers, **habits):
        log, plc, classifier = Log(tmp_path / "log.db", "line"), Plc(), Answers()
        source = Source(((str(n), json.dumps(answer).encode()) for n, answer in enumerate(answers)), None)
        Line(source, sorts, log, plc, Habits(**habits)).run(classifier, NO_UPDATES, None)
        log.sync()
        found = [json.loads(payload) for _, _, payload in log.unsent(0, 10_000)]
        log.close()
        return found, plc.states

    return run


def test_a_disk_that_is_full_leaves_the_plc_safe(tmp_path):
    log, plc = Log(tmp_path / "log.db", "line"), Plc()

    def items():
        yield "1", json.dumps(answer()).encode()
        log.error = "database or disk is full"
        yield "2", json.dumps(answer()).encode()

    with pytest.raises(sqlite3.OperationalError, match="full"):
        Line(Source(items(), None), sorts, log, plc, Habits()).run(Answers(), NO_UPDATES, None)
    assert plc.states[-1] == FAULT


def answer(level=100.0, probability=0.9):
    return {"class": "a", "index": 0, "probability": probability, **dict.fromkeys(NAMES, level)}


def test_drift_is_told_once_and_what_was_learnt_outlives_a_restart(ran):
    ordinary = [answer(100 + n % 3) for n in range(60)]
    ran(ordinary, drift_reference=40)
    events, _ = ran([answer(50)] * 80 + ordinary * 2, drift_reference=40)
    alarms = [(event["on"], event["cause"]) for event in events if event["type"] == "alarm"]
    assert alarms == [(True, NAMES[0]), (False, "")]


def test_samples_are_each_nth_and_the_first_unsure_one_after(ran):
    sure, unsure = answer(), answer(probability=0.5)
    events, _ = ran([sure, unsure, unsure] * 10, sample_every=10)
    samples = [(event["n"], event["reason"]) for event in events if event["type"] == "sample"]
    turns = [(n, "" if n % 3 == 1 else "low confidence") for n in (10, 20, 30)]
    after = [(n, "low confidence") for n in (2, 11, 21)]
    assert samples == sorted([*turns, *after])


def test_a_line_without_answers_is_at_fault_until_the_classifier_is_back(ran):
    events, states = ran([answer(), *[{"dies": True}] * 3, answer(), answer()])
    verdicts = [event["verdict"] for event in events if event["type"] == "item"]
    assert verdicts == ["ok", "unsure", "unsure", "unsure", "ok", "ok"]
    assert FAULT in states and states[-2:] == [RUNNING, STOPPED]


def test_a_new_package_may_have_other_good_classes(tmp_path):
    log, old, new = Log(tmp_path / "log.db", "line"), Answers(), Answers()
    new.id, new.classes = "new", ["clean", "b"]
    follows = types.SimpleNamespace(**vars(NO_UPDATES) | {"change": lambda current: new})
    items = [("1", json.dumps(answer() | {"class": "clean"}).encode())]
    Line(Source(iter(items), None), sorts, log, Plc(), Habits()).run(old, follows, None)
    assert log.counts() == {("ok", "", REACHED): 1}
