"""Experiments and home: what is listed, for whom, and how a run is deleted or gone on with."""

import seed
import streamlit as st
from seed import words

from engine import visitors
from pages.parts import visitor


def button(app, label):
    """Returns the first button of that label."""
    return next(found for found in app.button if found.label == label)


def test_deleting_asks_and_names_what_goes(home, open_page):
    run = seed.finished(home)
    app = open_page("experiments")
    button(app, "Delete").click().run()
    assert "goes with all its variants" in words(app)
    assert home.folder(run).exists()
    button(app, "Delete it").click().run()
    assert home.runs() == []
    assert not app.exception


def test_a_deleted_run_is_taken_back(home, open_page):
    run = seed.finished(home)
    home.delete(run)
    app = open_page("experiments")
    button(app, "Take back").click().run()
    assert [row["id"] for row in home.runs()] == [run] and not app.exception


def test_a_name_and_tags_are_given_shown_and_found(home, open_page):
    run = seed.finished(home)
    app = open_page("experiments")
    button(app, "Name and tags").click().run()
    app.text_input(key="label_title").set_value("Line <b>3</b>")
    button(app, "Save").click().run()
    assert home.runs()[0]["title"] == "Line <b>3</b>"
    home.label(run, "Line <b>3</b>", ["night"])
    app = open_page("experiments")
    assert "#night" in words(app) and not any("<b>3" in element.value for element in app.markdown)
    app.text_input[0].set_value("night").run()
    assert "No run matches" not in words(app)


def test_repeating_opens_the_configuration_of_the_run(home, open_page):
    limits = {"max_size_mb": 0.2512345, "min_class_recall": 0.5, "recall_class": "3", "recall_index": 3}
    seed.finished(home, seed=7, constraints=limits, device="raspberry_pi_5", weights={"speed": 2.5})
    app = open_page("experiments")
    button(app, "Repeat").click().run()
    assert not app.exception
    assert app.number_input(key="seed").value == 7
    assert app.text_input(key="limit_max_size_mb").value == "0.2512345"
    assert app.selectbox(key="limit_recall_class_10").value == 3
    assert app.slider(key="goal_weight_speed").value == 2.5


def test_what_is_gone_is_not_repeated_and_that_is_said_at_once(home, open_page):
    seed.finished(home, model=seed.model(path="/nowhere"))
    app = open_page("experiments")
    button(app, "Repeat").click().run()
    assert "upload it again" in app.error[0].value and not app.exception


def test_running_run_cannot_be_deleted(home, worker, open_page):
    seed.begun(home, worker)
    assert button(open_page("experiments"), "Delete").disabled


def test_search_narrows(home, open_page):
    seed.finished(home)
    seed.finished(home, model=seed.model(name="other.onnx"))
    app = open_page("experiments")
    assert "other.onnx" in words(app)
    app.text_input[0].set_value("digits").run()
    assert "other.onnx" not in words(app)


def test_home_lists_the_last_runs(home, open_page):
    seed.finished(home)
    assert "digits/pytorch/small" in words(open_page("home"))


def test_public_host_hides_other_visitors_runs(home, open_page, monkeypatch):
    run = seed.finished(home, model=seed.model(name="secret.onnx"))
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    monkeypatch.setenv("SPACE_ID", "someone/edgewise")
    for page in ("home", "experiments"):
        assert "secret.onnx" not in words(open_page(page))
    warned = "".join(warning.value for warning in open_page("home").warning)
    assert "forgets runs and uploads when it restarts" in warned
    app = open_page("compare", run=run)  # whoever has the link has the run
    assert "secret.onnx" in words(app)
    app.switch_page("pages/experiments.py").run()
    assert "secret.onnx" in words(app)


def test_a_visitor_finds_own_runs_again_and_may_delete_no_others(home, open_page, monkeypatch):
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    monkeypatch.setattr("pages.parts.visitor.who", lambda: "ann")
    run, other = seed.finished(home, model=seed.model(name="mine.onnx")), seed.finished(home)
    home.own(run, "ann")
    app = open_page("run", run=other)
    app.switch_page("pages/experiments.py").run()
    assert "mine.onnx" in words(app) and "kept until" in words(app)
    assert not app.button(key=f"delete-{run}").disabled and app.button(key=f"delete-{other}").disabled


def test_a_login_outweighs_a_cookie(monkeypatch):
    monkeypatch.setenv("EDGEWISE_PUBLIC", "1")
    monkeypatch.setattr(st, "session_state", {"visitor": "a"})
    by_cookie = visitor.who()
    monkeypatch.setattr(visitor, "has_login", lambda: True)
    user = type("User", (dict,), {"is_logged_in": True})
    monkeypatch.setattr(st, "user", user(email="ann@example.org"))
    assert visitor.who() == visitors.known("login", "ann@example.org") != by_cookie
    monkeypatch.setattr(st.user, "is_logged_in", False)
    assert visitor.who() == by_cookie
    monkeypatch.delenv("EDGEWISE_PUBLIC")
    assert visitor.who() == visitors.OWNER


def test_two_runs_are_shown_beside_each_other(home, open_page):
    seed.finished(home)
    seed.finished(home, goal="size")
    app = open_page("experiments")
    assert not app.dataframe, "nobody asked yet, and a long history would take a while"
    app.session_state["beside"] = True
    (table,) = app.run().dataframe
    assert "goal" in set(table.value[""]) <= {"goal", "took"} and not app.exception
    app.toggle(key="beside_only").set_value(False).run()
    assert len(app.dataframe[0].value) > 20
