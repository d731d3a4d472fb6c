"""The form of a starter model: what it asks for, a training that is watched, cancelled, done or failed."""

import pytest
import seed
from seed import words

from engine import starter
from engine.errors import BadInput

ASKED = {"dataset": "digits", "size": "small", "framework": "pytorch", "seconds": 60, "mirror": False}


@pytest.fixture
def upload(open_page, monkeypatch):
    """Opens the upload page beside a training in this state; `upload.started` is what was asked for."""

    def opened(state: dict | None, model=None):
        opened.started, opened.cancelled = [], []
        monkeypatch.setattr(starter, "start", lambda asked, home: opened.started.append(asked) or "one-two")
        monkeypatch.setattr(starter, "cancel", lambda found, home: opened.cancelled.append(found))
        monkeypatch.setattr(starter, "trained", lambda state: model)

        def status(found, home):
            if state is None:
                raise BadInput("No training is called so.")
            return {"asked": ASKED, "reason": ""} | state

        monkeypatch.setattr(starter, "status", status)
        return open_page("upload", dataset="digits", starter="one-two")

    return opened


def test_what_the_form_says_is_what_is_asked_for(upload):
    app = upload(None)
    app.number_input(key="starter_minutes").set_value(3)
    app.button(key="starter_start").click().run()
    (asked,) = upload.started
    assert (asked.dataset, asked.size, asked.seconds, asked.mirror) == ("digits", "small", 180, False)


@pytest.mark.slow
def test_a_training_is_watched_and_cancelled(upload):
    app = upload({"state": "running", "fraction": 0.25, "text": "step 10 of 40", "remaining_s": 42})
    assert "step 10 of 40" in words(app) and "about" in words(app)
    app.button(key="starter_cancel").click().run()
    assert upload.cancelled == ["one-two"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"state": "cancelled"}, "was cancelled"),
        ({"state": "failed", "reason": "It ran out of memory."}, "ran out of memory"),
    ],
)
def test_how_a_training_ended_is_said(upload, state, said):
    assert said in words(upload(state)).replace("\\", "")


def test_a_trained_model_is_chosen(upload):
    app = upload({"state": "done"}, model=seed.model(name="starter"))
    assert "is trained, and chosen" in words(app)
