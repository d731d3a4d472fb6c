"""Every page in every state that a person may meet it in."""

import pytest
import seed
from seed import words

PAGES = ("home", "upload", "configure", "run", "compare", "deploy", "experiments", "devices")


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_on_an_empty_workspace(open_page, page):
    app = open_page(page)
    assert not app.exception
    assert app.title


@pytest.mark.parametrize("page", ("run", "compare", "deploy"))
def test_step_without_a_run_says_what_is_missing(open_page, page):
    assert "There is no run yet" in words(open_page(page))


def test_configure_without_a_model_says_what_is_missing(open_page):
    assert "There is no model to fit yet" in words(open_page("configure"))


@pytest.mark.parametrize("page", ("run", "compare", "deploy"))
@pytest.mark.parametrize("strange", ("nope", "../../etc/passwd", "", "[link](x)`", ".", "x" * 300))
def test_unknown_run_is_one_sentence(open_page, page, strange):
    app = open_page(page, run=strange)
    assert not app.exception
    assert len(app.error) + len(app.info) == 1


@pytest.mark.parametrize("page", ("run", "compare", "deploy"))
def test_run_of_a_later_schema_is_one_sentence(home, open_page, page):
    app = open_page(page, run=seed.of_schema(home, 9))
    assert not app.exception
    assert len(app.error) == 1 and "schema" in words(app)


@pytest.mark.parametrize("page", ("run", "compare", "deploy"))
def test_run_of_an_older_schema_opens_with_one_sentence(home, open_page, page):
    app = open_page(page, run=seed.of_schema(home, 0))
    assert not app.exception and not app.error
    assert "written by an earlier Edgewise (schema 0)" in words(app)


def test_run_whose_technique_and_device_are_gone_opens(home, open_page):
    run = seed.finished(home)
    path = home.folder(run) / "experiment.json"
    path.write_text(path.read_text().replace('"ptq_int8"', '"magic"').replace(seed.DEVICE, "toaster"))
    for page in ("run", "compare", "deploy", "experiments", "home"):
        assert not open_page(page, run=run).exception


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_with_a_finished_run(home, open_page, page):
    app = open_page(page, run=seed.finished(home))
    assert not app.exception


def test_queued_run_shows_its_place(home, worker, open_page):
    seed.begun(home, worker)
    text = words(open_page("run", run=seed.queued(home)))
    assert "next to start" in text
    assert "waiting" in text


def test_second_in_the_queue_says_so(home, worker, open_page):
    seed.begun(home, worker)
    seed.queued(home)
    assert "number 2 in the queue" in words(open_page("run", run=seed.queued(home)))


def test_running_run_shows_a_line_a_technique(home, worker, open_page):
    app = open_page("run", run=seed.begun(home, worker))
    text = words(app)
    assert "working" in text and "about 10 s left" in text
    assert "262 kB" in text and "99.44 %" in text and "0.710 ms" in text
    app.session_state["log"] = True
    assert "conv1 stays INT8" in words(app.run())


def test_finished_run_leads_to_compare(home, open_page):
    app = open_page("run", run=seed.finished(home))
    assert "The run is done: 9 variants" in words(app)
    assert any(button.label == "Compare the variants" for button in app.button)


def test_failed_technique_says_why_and_what_to_try(home, open_page):
    text = words(open_page("run", run=seed.finished(home)))
    assert "it used more than 1,500 MB. Try a smaller batch." in text


def test_failed_run_says_why(home, open_page):
    app = open_page("run", run=seed.ended(home, "failed", "The model could not be exported."))
    assert "The model could not be exported." in words(app)
    assert any(button.label == "Go on" for button in app.button)


def test_cancelled_run_keeps_what_is_finished(home, open_page):
    text = words(open_page("run", run=seed.ended(home, "cancelled", "You cancelled it.")))
    assert "2 finished variants are kept" in text
    assert "stopped" in text and "not started" in text and "working" not in text


def test_cancel_asks_once_and_stops(home, worker, open_page):
    run = seed.begun(home, worker)
    app = open_page("run", run=run)
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert home.state(run) == "running"
    next(button for button in app.button if button.label == "Cancel the run").click().run()
    assert home.state(run) == "cancelled"
    assert not app.exception


def test_damaged_events_do_not_break_the_page(home, worker, open_page):
    run = seed.begun(home, worker)
    with open(home.folder(run) / "events.jsonl", "a") as file:
        file.write('{"time": 1, "kind": "progr')
    assert not open_page("run", run=run).exception


def test_workspace_that_cannot_be_written_is_one_sentence(home, open_page, monkeypatch):
    monkeypatch.setenv("EDGEWISE_HOME", "/proc/nowhere")
    app = open_page("home")
    assert not app.exception
    assert len(app.error) == 1 and "EDGEWISE_HOME" in app.error[0].value.replace("\\", "")
