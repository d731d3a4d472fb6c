"""The report: what both forms of it say, and that nothing foreign in it is markup."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deploy import report
from deploy.report import layers
from deploy.report.drawing import Scale
from engine.errors import BadInput
from engine.judge.layers import LayerRow
from engine.run.on_board import OnBoard
from engine.store.boards import Measured
from engine.store.workspace import Workspace
from engine.vocabulary import Robustness

RECORDED = Path(__file__).parents[1] / "run" / "recorded"
HOSTILE = '<script>alert(1)</script>|`x`[a](javascript:b)"'


class Outline(HTMLParser):
    """Notes tags and attributes; VOID ones are never closed."""

    VOID = ("meta", "br")

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path):
    """A run that really was, on digits, with what these tests change in it: `run(changes of a variant)`."""

    def read(model: dict | None = None, result: dict | None = None, **changes):
        folder = tmp_path / "home" / "runs" / "recorded"
        shutil.copytree(RECORDED, folder)
        for path, fields in (
            (folder / "variants" / "ptq_int4@mixed.json", changes),
            (folder / "result.json", result or {}),
        ):
            path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        asked = json.loads((folder / "experiment.json").read_text())
        asked["model"] |= model or {}
        (folder / "experiment.json").write_text(json.dumps(asked))
        home = Workspace(tmp_path / "home")
        home.rebuild_index()
        return home.run("recorded")

    return read


def test_both_forms_tell_the_answer_its_figures_and_what_is_measured(run):
    found = run()
    winner = next(v for v in found.variants if v.id == found.recommendation.winner)
    page, text = report.html(found), report.markdown(found)
    for said in (
        "INT4 after training, fragile layers in INT8 or float",
        f"{100 * winner.accuracy:.1f}",
        winner.artifacts[0].sha256,
        found.experiment.model.sha256,
        *found.recommendation.reasons,
    ):
        assert said in page or said.replace("'", "&#39;") in page, said
        assert said in re.sub(r"\\(.)", r"\1", text).replace("\u2060", ""), said
    assert "is a prediction" in page and "that no technique saw" in page


def test_the_page_is_whole_and_loads_nothing(run):
    page = report.html(run())
    outline = Outline(page)
    assert not outline.open and outline.tags.count("svg") >= 1
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert not {"src", "href", "onclick", "onload"} & set(outline.attributes)
    assert "http:" not in page and "https:" not in page and not re.search(r"\b(nan|None)\b", page)


def test_nothing_foreign_is_markup(run):
    found = run(
        model={"name": HOSTILE, "classes": [HOSTILE] * 10}, notes=[HOSTILE], result={"sensitivity": []}
    )
    page, text = report.html(found), report.markdown(found)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r"(?<!\\)<script|(?<!\\)\]\(", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows and {len(re.split(r"(?<!\\)\|", line)) for line in rows[-3:]} == {10}


def test_a_run_without_labelled_images_or_a_winner_is_reported_as_well(run):
    bare = dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "accuracy_drop_pp", "test_images"))
    page = report.html(run(**bare, per_class_recall=[], estimates={}))
    assert "was not measured" in page and "Nothing is predicted for" in page


def test_before_a_baseline_there_is_nothing_to_report(run):
    found = run()
    with pytest.raises(BadInput, match="no measured baseline"):
        report.html(found.model_copy(update={"variants": []}))


def test_the_ending_tells_the_form(run, tmp_path):
    run()
    home = Workspace(tmp_path / "home")
    report.write("recorded", tmp_path / "new" / "r.md", home)
    assert (tmp_path / "new" / "r.md").read_text().startswith("# digits")
    with pytest.raises(BadInput, match="written as .html, .md, .pdf"):
        report.write("recorded", tmp_path / "r.docx", home)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="can't be written"):
        report.write("recorded", tmp_path / "file" / "r.html", home)


def test_without_weasyprint_a_pdf_is_refused_with_the_way_out(run, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(report, "import_module", missing)
    with pytest.raises(BadInput, match="print it from the browser"):
        report.pdf(run())


def test_a_scale_keeps_order_and_ends():
    linear, log = Scale(2, 4, 100, 0), Scale(0.1, 10, 0, 100, log=True)
    assert (linear(2), linear(4), linear(3)) == (100, 0, 50)
    assert [round(log(v)) for v in (0.1, 1, 10)] == [0, 50, 100]
    assert Scale(1, 1, 0, 10)(1) == 0


def test_what_was_measured_on_damaged_pictures_is_told_beside_the_baseline(run):
    found = run()
    robust = {
        name: Robustness(images=9, clean=0.99, corrupted={"blur": (0.9, 0.8, 0.4 + worse)})
        for name, worse in (("baseline", 0.3), ("ptq_int4@mixed", 0.0))
    }
    for said in (report.html(found, robust), report.markdown(found, robust)):
        row = next(line for line in said.splitlines() if "blur" in line and "70.0" in line)
        assert row.index("70.0") < row.index("80.0")
    assert "damaged pictures" not in report.html(found)


def test_charts_look_right_without_the_page_s_style(run):
    page = report.html(run())
    for chart in re.findall(r"<svg.*?</svg>", page, re.S):
        marks = re.findall(r"<(?:line|circle|polygon|rect|path) [^>]*>", chart)
        assert marks and all("fill=" in mark or "stroke=" in mark for mark in marks)
        assert all('text-anchor="end"' in text for text in re.findall(r'<text [^>]*class="end"[^>]*>', chart))


def test_the_layer_map_is_one_page_without_a_script_and_names_are_text(run):
    bad = "<script>alert(1)</script>"
    rows = [
        LayerRow(bad, "Conv", 640, 160, 1000, 8, 16, 0.2, 0.1, 0.3, "compute", 1280, 2000, 32, 32, 0.4),
        LayerRow("inference", "", 0, 0, 0, None, None, 0.1, 0.05, 0.2, "overhead", ms_before=0.1),
    ]
    found = run()
    page = layers.html(found, "ptq_int8", "raspberry_pi_4", rows)
    assert "Nothing is predicted" in layers.html(found, "ptq_int8", "raspberry_pi_4", [])
    assert "<script" not in page and "&lt;script&gt;" in page and "<svg" in page
    assert "0.200" in page and "1.28" in page and "default-src 'none'" in page


def test_the_pruning_study_is_in_the_appendix_from_four_points_on(run):
    found = run()
    mixed = next(v for v in found.variants if v.id == "ptq_int4@mixed")
    paired = {"accuracy_drop_pp": 1.25, "accuracy_drop_low_pp": -0.5, "accuracy_drop_high_pp": 3.0}
    pruned = [
        mixed.model_copy(update=paired | {"id": f"prune_{how}@0.{share}{way}", "technique": f"prune_{how}"})
        for how, way in (("structured", ""), ("unstructured", ",iterative"))
        for share in (3, 5)
    ]
    enough, few = (found.model_copy(update={"variants": [*found.variants, *pruned[:n]]}) for n in (4, 3))
    page, text = report.html(enough), report.markdown(enough).replace("\u00a0", " ")
    assert not Outline(page).open and "weights, step by step" in page and '<polyline class="channels"' in page
    row = next(line for line in text.splitlines() if line.startswith("| channels | at once | 50"))
    assert "-0.50 to 3.00" in row and row.count("|") == 11
    assert "pruning study" not in report.html(few) + report.markdown(few)


def test_what_the_user_s_own_board_measured_stands_beside_the_predictions(run):
    found = run()
    machine = {"board": HOSTILE}
    watts = {"sensor": "INA3221", "covers": "the board", "idle_w": 2, "load_w": 4, "runs": 99}
    one = {"runtime": "onnxruntime", "threads": 4, "precision": "int8", "latency_ms": {"p50": 12.5}}
    one |= {"machine": machine, "energy": watts | {"mj": 61.0, "mj_above_idle": 3.0}}
    wrong = {"pictures": 36, "same_answers": 30, "agrees": False, "worst_difference": 1}
    chosen = found.recommendation.winner
    board = OnBoard(
        {chosen: Measured(rounds=[one]), "baseline": Measured(rounds=[one], answers=wrong)}, HOSTILE
    )
    for said in (report.html(found, board=board), report.markdown(found, board=board)):
        said = re.sub(r"\\(.)", r"\1", said).replace("\u00a0", " ").replace("\u2060", "")
        assert "measured as 12.5 ms on" in said and "61.0 mJ" in said and "INA3221, the board" in said
        assert "30 of 36" not in said and "6 of 36 golden pictures get another one" in said
    page, text = report.html(found, board=board), report.markdown(found, board=board)
    assert not Outline(page).open and '<circle class="ring"' in page and "<script" not in page
    assert not re.search(r"(?<!\\)<script|(?<!\\)\]\(", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in rows[-3:]} == {11}
    assert 'ring"' not in report.html(found)
