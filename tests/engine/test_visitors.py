"""What one visitor of a public host may take, and that an own machine has no limits."""

import os
import time

import pytest

from engine import visitors
from engine.errors import EdgewiseError, TooMuch
from engine.run import jobs
from engine.store import uploads


@pytest.fixture
def public(workspace, monkeypatch):
    """A workspace on a public host on which runs wait and are not started."""
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    monkeypatch.setattr(visitors, "PACE", visitors.Pace())
    monkeypatch.setattr(jobs, "tick", lambda workspace: None)
    return workspace


def test_a_visitor_has_so_many_runs_and_the_host_so_many_that_wait(public, asked, monkeypatch):
    monkeypatch.setenv("EDGEWISE_MOST_WAITING", "3")
    first = jobs.start(asked(), public, "ann")
    jobs.start(asked(), public, "ann")
    with pytest.raises(TooMuch, match=r"one visitor have 2 runs .* cancel one\.$") as caught:
        jobs.start(asked(), public, "ann")
    assert caught.value.wait_s > 0
    jobs.start(asked(), public, "ben")
    with pytest.raises(TooMuch, match="3 runs wait here"):
        jobs.start(asked(), public, "cem")
    assert jobs.start(asked(), public)  # the owner's own
    jobs.cancel(first, public)
    with pytest.raises(TooMuch):
        jobs.resume(first, public)
    assert public.owner_of(first) == "ann" and visitors.may_change("ann", first, public)
    assert not visitors.may_change("ben", first, public)


def test_an_own_machine_has_no_limits(public, asked, monkeypatch):
    monkeypatch.delenv("EDGEWISE_PUBLIC")
    for _ in range(3):
        run = jobs.start(asked(), public, "ann")
    visitors.may_send("ann", 10**12, public.home)
    assert visitors.may_change("ben", run, public) and visitors.kept_until(public.runs()[0]) is None


def test_a_pace_is_counted_anew_after_its_time():
    now = [0.0]
    pace = visitors.Pace(lambda: now[0])
    for _ in range(2):
        pace.count("ann", "calls", 2, 60, "Too often.")
    now[0] = 40
    with pytest.raises(TooMuch, match="Too often") as caught:
        pace.count("ann", "calls", 2, 60, "Too often.")
    assert caught.value.wait_s == 20
    pace.count("ben", "calls", 2, 60, "Too often.")
    now[0] = 60
    pace.count("ann", "calls", 2, 60, "Too often.")


def test_whoever_asks_again_and_again_is_not_forgotten_for_strangers(monkeypatch):
    monkeypatch.setattr(visitors, "MOST_COUNTED", 2)
    pace = visitors.Pace(lambda: 0.0)
    pace.count("ann", "calls", 1, 60, "Too often.")
    for stranger in ("ben", "cem"):
        with pytest.raises(TooMuch):
            pace.count("ann", "calls", 1, 60, "Too often.")
        pace.count(stranger, "calls", 1, 60, "Too often.")
    with pytest.raises(TooMuch):
        pace.count("ann", "calls", 1, 60, "Too often.")


def test_a_visitor_sends_so_many_bytes(public, monkeypatch):
    monkeypatch.setenv("EDGEWISE_MOST_UPLOAD_MB", "1")
    visitors.may_send("ann", 900_000, public.home)
    sha256 = uploads.keep(bytes(900_000), public.home, "model").parent.name
    uploads.note_sender(sha256, "ann", public.home)
    with pytest.raises(TooMuch, match="1 MB of one visitor's files"):
        visitors.may_send("ann", 200_000, public.home)
    visitors.may_send("ben", 900_000, public.home)


def test_what_visitors_left_goes_after_some_days_and_what_the_owner_did_stays(public, asked, monkeypatch):
    own, theirs = jobs.start(asked(), public), jobs.start(asked(), public, "ann")
    for run in (own, theirs):
        jobs.cancel(run, public)
    sent = [uploads.keep(word, public.home, "model") for word in (b"ann's", b"the owner's")]
    uploads.note_sender(sent[0].parent.name, "ann", public.home)
    later = time.time() + 8 * 86_400
    monkeypatch.setattr(visitors.time, "time", lambda: later)
    visitors.tidy(public)
    assert [row["id"] for row in public.runs()] == [own]
    assert os.listdir(public.home / "deleted") == [theirs]
    assert not sent[0].exists() and sent[1].exists()


def test_a_variable_that_is_no_number_is_one_sentence(public, monkeypatch):
    monkeypatch.setenv("EDGEWISE_KEPT_DAYS", "a week")
    with pytest.raises(EdgewiseError, match="EDGEWISE_KEPT_DAYS is 'a week'"):
        visitors.limits()
