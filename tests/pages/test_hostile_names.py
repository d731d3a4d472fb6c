"""Names of classes, models and variants are data: no page, chart or table takes them for markup or a
formula.
"""

import csv
import io

import pytest
import seed

from pages.parts import charts, tables
from pages.parts import wording as w


@pytest.mark.parametrize("page", ("home", "run", "compare", "deploy", "experiments"))
def test_hostile_names_break_no_page(home, open_page, page):
    model = seed.model(name=seed.HOSTILE, classes=[seed.HOSTILE] * 10)
    app = open_page(page, run=seed.finished(home, model=model))
    assert not app.exception
    for element in [*app.markdown, *app.caption]:
        assert "<script>" not in element.value


def test_csv_has_no_formula(home):
    bad = [
        v.model_copy(update={"reason": start + "cmd()"})
        for v, start in zip(seed.variants(), "=+-@\t|", strict=False)
    ]
    for row in csv.reader(io.StringIO(tables.as_csv(bad, seed.DEVICE))):
        assert all(not value.startswith(("=", "+", "@", "\t", "|")) for value in row)
    assert all(
        not str(value).startswith(("=", "+", "@")) for value in tables.variants(bad, seed.DEVICE)["Reason"]
    )


def test_numbers_stay_numbers_in_the_csv():
    found = [seed.variant("x", 10, 1.0, 0.9, -0.5)]
    row = next(iter(csv.DictReader(io.StringIO(tables.as_csv(found, seed.DEVICE)))))
    assert float(row["accuracy_drop_pp"]) == -0.5


@pytest.mark.parametrize("text", ("`", "``a`", "a`b", "<b>", "a\nb", "", "\u202e"))
def test_code_spans_hold_what_they_are_given(text):
    span = w.code(text)
    fence = len(span) - len(span.lstrip("`"))
    assert "\n" not in span and "`" * fence not in span[fence:-fence].strip()


def test_plain_escapes_markup():
    assert w.plain("<b>*a*") == r"\<b\>\*a\*"
    assert ":material/home:" not in w.plain(":material/home:")


def test_chart_text_is_escaped():
    assert charts.text("<a href=x>$y$") == "&lt;a href=x&gt;&#36;y&#36;"
