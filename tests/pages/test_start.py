"""Upload and configure: from a chosen model to a run that was asked for."""

import pytest
import seed
from seed import words

from engine import frameworks
from engine.errors import BadInput
from engine.formats import inspect
from engine.run import jobs
from engine.store import uploads
from engine.vocabulary import SCHEMA_VERSION

SMALL = {"model": "digits/pytorch/small", "dataset": "digits"}


@pytest.fixture
def started(monkeypatch, home):
    """The experiments that were started, none of which really runs."""
    asked = []

    def start(experiment, workspace, visitor):
        asked.append(experiment)
        return workspace.create(experiment)

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(jobs, "tick", lambda workspace: None)
    return asked


def start_button(app):
    """Returns the one primary button of the configure page."""
    return next(button for button in app.button if button.label.startswith("Start the run"))


def test_example_leads_to_configure(home, open_page):
    app = open_page("home")
    next(button for button in app.button if button.label == "Try the bundled example").click().run()
    assert app.title[0].value == "Configure the run"
    assert app.query_params["model"] in (SMALL["model"], [SMALL["model"]])


def test_configure_builds_the_experiment(home, open_page, started):
    app = open_page("configure", **SMALL)
    assert "973 kB" in words(app)
    app.radio[0].set_value("raspberry_pi_5")
    app.text_input[0].set_value("0,5")
    app.text_input[1].set_value("0.25")
    app.run()
    start_button(app).click().run()
    assert not app.exception
    asked = started[0]
    assert (asked.device, asked.constraints.max_accuracy_drop_pp, asked.constraints.max_size_mb) == (
        "raspberry_pi_5",
        0.5,
        0.25,
    )
    assert asked.model.name == SMALL["model"] and asked.dataset == "digits"
    assert app.title[0].value == "Watch the run"


def test_the_files_are_for_the_devices_runtime_unless_another_is_chosen(
    home, open_page, started, monkeypatch
):
    monkeypatch.setattr(frameworks, "find_spec", lambda name: object())
    app = open_page("configure", **SMALL)
    app.radio[0].set_value("coral_dev_board").run()
    assert app.segmented_control(key="runtime_coral_dev_board").value == "litert"
    app.segmented_control(key="runtime_coral_dev_board").set_value("onnxruntime").run()
    assert "Choose LiteRT" in words(app)
    start_button(app).click().run()
    assert not app.exception and started[0].runtime == "onnxruntime"


def test_where_there_is_no_choice_none_is_offered_and_the_reason_is_said(home, open_page):
    app = open_page("configure", model="digits/keras/small", dataset="digits")
    app.radio[0].set_value("jetson_nano").run()
    assert [c.label for c in app.segmented_control if c.label == "Files for"] == []
    assert "Keras models can't be written as ONNX" in words(app)
    assert "No longer supported by its maker. JetPack" in words(app)
    app.radio[0].set_value("raspberry_pi_5_hailo_8l").run()
    assert not app.exception and "No longer supported by its maker. " not in words(app)


@pytest.mark.parametrize("typed", ("-1", "abc", "nan", "inf", "1e999", "<b>"))
def test_wrong_limit_is_one_sentence_and_stops_the_start(home, open_page, typed):
    app = open_page("configure", **SMALL)
    app.text_input[0].set_value(typed).run()
    assert len(app.error) == 1 and "Type a number of 0 or more" in app.error[0].value
    assert start_button(app).disabled


def test_no_technique_is_one_sentence(home, open_page):
    app = open_page("configure", **SMALL)
    for box in app.checkbox:
        box.uncheck()
    app.run()
    assert "No technique is chosen" in words(app)
    assert start_button(app).disabled


def test_refused_start_says_why(home, open_page, monkeypatch):
    def refuse(experiment, workspace, visitor):
        raise BadInput("This run needs about 900 MB of memory and 100 MB are free: close other programs.")

    monkeypatch.setattr(jobs, "start", refuse)
    app = open_page("configure", **SMALL)
    start_button(app).click().run()
    assert "needs about 900 MB" in words(app) and not app.exception
    assert home.runs() == []


def test_unknown_model_in_the_url_is_no_error(home, open_page):
    app = open_page("configure", model="no/such/model", dataset="digits")
    assert not app.exception and "There is no model to fit yet" in words(app)


def test_upload_shows_what_was_understood(home, open_page):
    app = open_page("upload", **SMALL)
    assert not app.exception
    cells = " ".join(str(table.value.to_numpy().tolist()) for table in app.table)
    assert "242,410" in cells and "28 × 28 × 1" in cells


def test_upload_takes_the_class_order_that_the_images_point_to(home, open_page):
    shipped = next(model for model in inspect.models() if model.name == SMALL["model"])
    path = uploads.keep(b"bytes of a model", home.home, "model")
    other = [*shipped.classes[1:], shipped.classes[0]]
    permuted = {"path": str(path), "sha256": path.parent.name, "name": "mine.onnx", "class_order": other}
    warning = "The class order looks permuted: as it is, 1.0%."
    uploads.remember(shipped.model_copy(update={**permuted, "warnings": [warning]}))
    app = open_page("upload", model=path.parent.name, dataset="digits")
    assert "looks permuted" in words(app)
    next(button for button in app.button if button.key == "class_order").click().run()
    assert not app.exception and "looks permuted" not in words(app)
    taken = uploads.model_of(path.parent.name, home.home)
    assert taken.classes == other and taken.class_order == [] and "as you set it" in taken.evidence[-1]


def test_upload_warns_when_model_and_data_do_not_fit(home, open_page):
    app = open_page("upload", model=SMALL["model"], dataset="cifar10")
    assert "choose a data set that fits" in words(app)


def test_upload_warns_when_the_classes_are_other_ones(home, open_page):
    app = open_page("upload", model="fashion_mnist/pytorch/small", dataset="mnist")
    assert "are none of those of MNIST" in words(app)
    assert "are none of those of" not in words(
        open_page("upload", model="fashion_mnist/pytorch/small", dataset="fashion_mnist")
    )


def test_bad_file_is_one_sentence(home, open_page):
    app = open_page("upload")
    app.segmented_control[0].set_value("My file").run()
    app.file_uploader[0].set_value(("notes.txt", b"no model at all", "text/plain")).run()
    assert not app.exception
    assert len(app.error) == 1


def test_pointless_technique_starts_unchecked_with_its_reason(home, open_page):
    app = open_page("configure", **SMALL)
    app.radio[0].set_value("jetson_nano").run()
    boxes = {box.key: box.value for box in app.checkbox}
    assert not boxes["technique_ptq_int8_jetson_nano"] and boxes["technique_fp16_jetson_nano"]
    assert "INT8 on Maxwell is pointless" in words(app)


def test_file_that_cannot_be_trained_offers_only_what_needs_no_training(home, open_page, monkeypatch):
    from pages.parts import plan

    trained = plan.why_not("distill", seed.model(reach="post_training"), "digits")
    assert "can't be trained" in trained
    assert plan.why_not("ptq_int8", seed.model(reach="post_training"), "digits") == ""
    assert plan.why_not("distill", seed.model(), None) and plan.why_not(
        "fp16", seed.model(reach="inspect"), "digits"
    )


def test_own_zip_shows_its_classes_and_what_was_skipped(home, open_page):
    app = open_page("upload", model=SMALL["model"])
    next(c for c in app.segmented_control if "My ZIP" in c.options).set_value("My ZIP").run()
    app.file_uploader[0].set_value(("cats.zip", picture_zip(), "application/zip")).run()
    assert not app.exception and not app.error
    cells = " ".join(str(table.value.to_numpy().tolist()) for table in app.table)
    assert "2: cat, dog" in cells and "notes.txt" in cells
    assert "choose the data set that it was trained on" in words(app)


def test_broken_zip_is_one_sentence(home, open_page):
    app = open_page("upload")
    next(c for c in app.segmented_control if "My ZIP" in c.options).set_value("My ZIP").run()
    app.file_uploader[0].set_value(("cats.zip", b"PK no zip", "application/zip")).run()
    assert not app.exception and len(app.error) == 1


def picture_zip() -> bytes:
    """Returns a ZIP of two classes with 20 small pictures each, and one file that is none."""
    import io
    import zipfile

    from PIL import Image

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, shade in (("cat", 40), ("dog", 200)):
            for number in range(20):
                picture = io.BytesIO()
                Image.new("RGB", (20, 20), (shade, number, shade)).save(picture, "PNG")
                archive.writestr(f"{name}/{number}.png", picture.getvalue())
        archive.writestr("cat/notes.txt", "no picture")
    return file.getvalue()


def test_link_outweighs_what_the_session_had_chosen(home, open_page):
    app = open_page("configure", **SMALL)
    app.query_params.update({"model": "digits/keras/small"})
    app.run()
    assert "digits/keras/small" in words(app)


def test_choice_outweighs_what_the_url_still_says(home, open_page):
    app = open_page("upload", **SMALL)
    next(box for box in app.selectbox if "digits/keras/small" in box.options).select(
        "digits/keras/small"
    ).run()
    assert app.session_state["model"].name == "digits/keras/small"
    assert not app.exception


def test_the_shipped_example_shows_what_one_gets_and_opens_once(home, open_page):
    own = seed.finished(home)
    home.label(own, "mine", ["example"])
    for _ in range(2):
        app = open_page("home")
        assert {metric.label for metric in app.metric} >= {"File", "Accuracy"}
        next(found for found in app.button if found.label == "Look at this finished run").click().run()
        assert not app.exception and not app.error
        (row,) = (row for row in home.runs() if row["id"] != own)
        assert app.session_state["run_id"] == row["id"] and row["winner"]
    run = home.run(row["id"])
    assert all(variant.status == "done" for variant in run.variants) and len(run.variants) > 5
    assert run.experiment.schema_version == SCHEMA_VERSION
