"""Compare: the recommendation, limits to try, the table, details."""

import numpy as np
import pytest
import seed
from seed import words

from engine import events
from engine.datasets import Part
from engine.judge.changes import Change
from engine.judge.limits import LIMITS
from engine.run.trying import Answer, Tried
from engine.store.files import write_json
from engine.vocabulary import Answered, Constraints, Recommendation
from pages.parts import changed, facts, lines, try_it


def field(app, key):
    """Returns the text field of one limit."""
    return next(found for found in app.text_input if found.key == key)


def test_recommendation_stands_first_in_words(home, open_page):
    text = words(open_page("compare", run=seed.finished(home)))
    assert "Recommended: Hybrid" in text and "`hybrid` " in text
    assert "13.7 times smaller and 3.6 times faster" in text
    assert "a difference that 359 test images can't tell from zero" in text
    assert "Allow a drop of 0.9 pp and hybrid@smallest would win." in text


def test_most_accurate_says_on_which_images(home, open_page):
    assert "`ptq_int8` most accurate on validation images" in words(
        open_page("compare", run=seed.finished(home))
    )


def test_three_metrics_with_ascii_signs(home, open_page):
    metrics = open_page("compare", run=seed.finished(home)).metric
    assert [metric.label for metric in metrics[:3]] == ["Size", "Latency", "Accuracy"]
    assert metrics[0].delta.startswith("-92.7")
    assert metrics[2].delta == "-0.55 pp"


def test_estimate_is_shown_with_interval_and_confidence(home, open_page):
    text = words(open_page("compare", run=seed.finished(home)))
    assert "1.44 ms (1.19–1.76), fair confidence" in text


def test_no_estimate_is_invented(home, open_page):
    app = open_page("compare", run=seed.finished(home, estimates=False))
    assert "no estimate yet" in words(app)
    assert not [name for name in app.selectbox(key="x").options if "predicted" in name]
    assert set(app.dataframe[0].value["Estimated on device"]) == {"no estimate yet", "–"}


def test_every_variant_is_in_the_table_with_its_reason(home, open_page):
    table = open_page("compare", run=seed.finished(home)).dataframe[0].value
    assert len(table) == 11
    failed = table[table["Variant"] == "distill"].iloc[0]
    assert failed["Limits"] == "✗ failed" and "1,500 MB" in failed["Reason"]


def test_trying_a_limit_changes_the_outcome_and_not_the_run(home, open_page):
    run = seed.finished(home)
    before = home.run(run)
    app = open_page("compare", run=run)
    assert "5 of 9 variants meet every limit" in words(app).replace("*", "")
    field(app, "try_max_accuracy_drop_pp").set_value("0.1").run()
    text = words(app).replace("*", "")
    assert "2 of 9 variants meet every limit" in text and "would win" in text
    assert home.run(run) == before
    next(button for button in app.button if button.label == "Back to the run's limits").click().run()
    assert "5 of 9 variants meet every limit" in words(app).replace("*", "")


def test_wrong_limit_is_one_sentence(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    field(app, "try_max_size_mb").set_value("-3").run()
    assert len(app.error) == 1 and "no limit" in app.error[0].value
    assert not app.exception


def test_nothing_admissible_names_the_nearest(home, open_page):
    nothing = Recommendation(
        winner=None, ranking=[], reasons=["No variant meets all your limits."], nearest="hybrid@smallest"
    )
    app = open_page(
        "compare", run=seed.finished(home, recommendation=nothing, constraints=Constraints(max_size_mb=0.01))
    )
    assert "Nothing meets every limit" in words(app) and "`hybrid@smallest`" in words(app)


def test_choosing_a_variant_shows_it(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    app.selectbox(key="variant").select("distill").run()
    assert "`distill` failed" in words(app)
    app.selectbox(key="variant").select("ptq_int8").run()
    assert "(bits 8, per_channel True)" in words(app)


def test_unfinished_run_can_be_compared_and_says_so(home, worker, open_page):
    app = open_page("compare", run=seed.begun(home, worker))
    assert not app.exception
    assert "The run is still at work" in words(app)


def test_baseline_alone_is_no_error(home, open_page):
    run = seed.queued(home)
    home.append(run, events.StateChanged(state="running"))
    home.write_variant(run, seed.variant(*seed.FIGURES[0], estimates=False))
    home.append(run, events.StateChanged(state="done"))
    assert not open_page("compare", run=run).exception


def test_run_without_labelled_images_is_no_error(home, open_page):
    run = seed.queued(home, dataset=None, techniques=["ptq_int8"])
    for row in seed.FIGURES[:2]:
        bare = dict.fromkeys(
            (
                "accuracy",
                "accuracy_low",
                "accuracy_high",
                "accuracy_drop_pp",
                "p_value",
                "validation_accuracy",
                "worst_class_recall",
                "test_images",
            )
        ) | {"per_class_recall": [], "confusion": []}
        home.write_variant(run, seed.variant(*row).model_copy(update=bare))
    home.append(run, events.StateChanged(state="done"))
    app = open_page("compare", run=run)
    assert not app.exception
    assert "accuracy that was not measured" in words(app)


def test_every_limit_has_its_field_and_energy_is_judged(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    assert {found.key for found in app.text_input} >= {f"try_{name}" for name in LIMITS}
    field(app, "try_max_energy_mj").set_value("5").run()
    assert not app.exception and "would win" in words(app)


def test_a_limit_on_the_recall_of_one_class_asks_which(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    assert not [box for box in app.selectbox if box.label == "Of the class"]
    field(app, "try_min_class_recall").set_value("0.99").run()
    before = words(app)
    app.selectbox(key="try_recall_class_10").set_value(8).run()  # the one that all are worst at
    assert "Back to the run" in str([b.label for b in app.button]) and not app.exception
    assert words(app) != before and "0 of 9 variants" in words(app).replace("*", "")


def test_moved_weights_move_the_winner_and_not_the_run(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    app.slider(key="try_weight_size").set_value(4.0).run()
    assert "would" in words(app) and any("Back to the run" in b.label for b in app.button)
    next(b for b in app.button if "Back to the run" in b.label).click().run()
    assert app.slider(key="try_weight_size").value == 1.0 and not app.exception


def test_the_table_is_searched_and_its_columns_are_chosen(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    app.text_input(key="search").set_value("PRUNE missed").run()
    assert app.dataframe[0].value["Variant"].tolist() == ["prune_structured@0.7"]
    app.text_input(key="search").set_value("no such thing").run()
    assert "No variant matches." in words(app) and not app.exception


def test_the_latency_of_every_device_marks_the_limit_that_is_typed(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    app.segmented_control(key="view").set_value("devices").run()
    assert "Set a limit on latency" in words(app)
    field(app, "try_max_latency_ms").set_value("2").run()
    assert "breaks 2 ms; your limit is about Raspberry Pi 4." in words(app) and not app.exception


def test_a_person_is_asked_below_the_confidence_that_reaches_what_is_asked(home, open_page):
    shares = [(0.0, 1.0, 0.95), (0.6, 0.9, 0.98), (0.9, 0.7, 1.0)]
    answered = [
        Answered(
            confidence=at,
            validation_share=share,
            validation_accuracy=right,
            test_share=share,
            test_accuracy=right,
        )
        for at, share, right in shares
    ]
    run = seed.finished(home)
    home.write_variant(run, seed.variant(*seed.FIGURES[7]).model_copy(update={"answered": answered}))
    app = open_page("compare", run=run)
    assert "--min-confidence 0.9`" in words(app)  # 99.5 % at first
    app.number_input(key="alone").set_value(97.0).run()
    assert "--min-confidence 0.6`" in words(app) and "**90.0" in words(app)
    app.number_input(key="alone").set_value(90.0).run()
    assert "It may answer everything alone" in words(app) and not app.exception


def test_images_that_changed_are_shown_with_names_as_text(home, open_page, monkeypatch):
    bad = "<img src=x onerror=alert(1)>"
    lost, won = (
        [Change(i, d, 1, b, a, 0.9, 0.4) for i in range(30)] for d, b, a in (("lost", 1, 2), ("won", 2, 1))
    )
    test = Part(np.zeros((30, 8, 8, 1), np.uint8), np.zeros(30, np.int64))
    monkeypatch.setattr(changed, "changes_of", lambda run, variant, home: ([*lost, *won[:2]], test))
    app = open_page("compare", run=seed.finished(home, model=seed.model(classes=["0", *[bad] * 9])))
    assert "lost 30 that your model answers rightly, and won 2" in words(app).replace("*", "")
    html = app.main.get("html")[-1].proto.body
    assert html.count("<figure>") == 24 and "data:image/png" in html
    assert "<img src=x" not in html and "your model ✓ &lt;img src=x onerror=alert(1)&gt;, 90" in html
    app.segmented_control(key="changed_direction").set_value("won").run()
    assert app.main.get("html")[-1].proto.body.count("<figure>") == 2 and not app.exception


def test_an_older_run_says_that_it_did_not_keep_its_answers(home, open_page):
    assert "Not recorded in this run" in words(open_page("compare", run=seed.finished(home)))


def test_a_picture_is_tried_when_one_is_chosen_and_names_are_text(home, open_page, monkeypatch):
    bad, seen = "<img src=x onerror=alert(1)>", []
    image = np.zeros((28, 28, 1), np.uint8)

    def tried(run, variants, content, home):
        seen.append([v.id for v in variants])
        answer = {"likeliest": ((1, 0.75), (2, 0.25)), "ms": 0.2}
        return Tried(image, {v.id: Answer.model_validate(answer) for v in variants})

    monkeypatch.setattr(try_it, "try_picture", tried)
    part = Part(np.zeros((9, 28, 28, 1), np.uint8), np.full(9, 1))
    monkeypatch.setattr(try_it.datasets, "load", lambda *given, **named: {"validation": part})
    app = open_page("compare", run=seed.finished(home, model=seed.model(classes=["0", *[bad] * 9])))
    assert seen == [] and "Choose an image" in words(app)
    app.number_input(key="try_sample").set_value(4).run()
    app.number_input(key="try_sample").set_value(4).run()
    html = app.main.get("html")[-1].proto.body
    assert seen == [["baseline", "hybrid"]] and "75.0" in html and not app.exception
    assert "<img src=x" not in html and "&lt;img src=x onerror=alert(1)&gt;" in html


def test_robustness_is_measured_when_asked_for_and_shown(home, open_page, monkeypatch):
    from engine.run import robustness as engine_robustness
    from engine.wall import sandbox

    rows = {name: [0.9, 0.8, 0.5] for name in ("blur", "noise")}
    monkeypatch.setattr(engine_robustness, "check_files", lambda variant, folder: None)
    monkeypatch.setattr(engine_robustness, "prepare", lambda *asked: None)
    monkeypatch.setattr(
        sandbox,
        "run",
        lambda module, request, *a: {
            name: {"images": 300, "clean": 0.97, "corrupted": rows} for name in request["artifacts"]
        },
    )
    app = open_page("compare", run=seed.finished(home))
    assert "Not measured yet" in words(app)
    next(b for b in app.button if b.label == "Measure robustness").click().run()
    assert "300 test images" in words(app) and not app.exception
    assert any("Damaged, mean" in table.value.columns for table in app.dataframe)


def test_time_by_operator_is_told_where_it_is_known(home, open_page):
    run = seed.finished(home)
    assert "it shows why a file is" in words(open_page("compare", run=run))
    rows = [{"name": "QLinearConv", "kind": "int8", "calls": 3, "ms": 0.5}]
    float_ = [{"name": "Conv", "kind": "float", "calls": 3, "ms": 1.0}]
    write_json(home.folder(run) / "operators.json", {"baseline": float_, "hybrid": rows, "ptq_int8": rows})
    app = open_page("compare", run=run)
    assert "it is 2 times as fast as your model" in words(app) and not app.exception


def test_the_pictures_of_a_run_from_elsewhere_are_offered_to_be_made_ready(home, open_page, monkeypatch):
    app = open_page("compare", run=seed.finished(home))
    assert "are not ready here yet" in words(app)
    asked = []
    monkeypatch.setattr(facts, "prepare_data", lambda dataset, *more: asked.append(dataset))
    app.button(key="sample_data").click().run()
    assert asked == ["digits"] and not app.exception


def test_the_pruning_study_is_a_view_and_sets_up_what_is_missing_of_it(home, open_page, tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    app = open_page("compare", run=seed.finished(home, model=seed.model(path=str(weights))))
    app.segmented_control(key="view").set_value("pruning").run()
    table = next(found.value for found in app.dataframe if "Gone (%)" in found.value)
    assert table["Gone (%)"].tolist() == [30, 50, 70] and {*table["How"]} == {"at once"}
    assert table["95 % interval"].tolist()[-1] == "0.43 to 1.73"
    app.selectbox(key="study").select("latency").run()
    assert not app.exception and "hold 90 %" in words(app)
    next(b for b in app.button if b.label == "Set up the pruning study").click().run()
    assert app.title[0].value == "Configure the run" and not app.exception
    checked = [box.key for box in app.checkbox if box.value]
    assert checked == [f"technique_prune_{how}_{seed.DEVICE}" for how in ("structured", "unstructured")]


def test_a_run_without_pruned_variants_says_how_to_get_the_study(home, open_page):
    run = seed.queued(home, techniques=["ptq_int8"])
    home.write_variant(run, seed.variant(*seed.FIGURES[0]))
    home.append(run, events.StateChanged(state="done"))
    app = open_page("compare", run=run, view="Pruning study")
    assert "there is no study to show" in words(app) and "makes the whole study" in words(app)
    assert not app.exception


def test_a_moved_line_fills_the_field_and_a_typed_limit_moves_the_line(home, open_page):
    app = open_page("compare", run=seed.finished(home))
    line = app.select_slider(key="line_max_size_mb")
    assert line.value == 0.5 and line.options[-1] == "no limit"
    line.set_value(0.091).run()
    assert field(app, "try_max_size_mb").value == "0.091"
    assert "1 of 9 variants meet every limit" in words(app).replace("*", "")
    app.select_slider(key="line_max_size_mb").set_value("").run()
    assert field(app, "try_max_size_mb").value == ""
    field(app, "try_max_size_mb").set_value("0,1234").run()
    assert app.select_slider(key="line_max_size_mb").value == 0.1234 and not app.exception
    app.selectbox(key="x").select("latency").run()
    keys = [found.key for found in app.select_slider]
    assert keys == ["line_max_latency_ms", "line_max_accuracy_drop_pp"]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("max_size_mb", 0.03, 1.0),
        ("max_accuracy_drop_pp", 0.0, 3.9),
        ("min_recall", 0.575, 1.0),
        ("max_robust_drop_pp", None, None),
    ],
)
def test_a_line_moves_from_where_nothing_keeps_the_limit_to_where_all_do(home, name, low, high):
    found = lines.places(name, seed.variants(), seed.experiment())
    assert found == sorted(set(found)) and (found[0], found[-1]) == (low, high) if found else low is None
