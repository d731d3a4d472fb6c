"""Text that someone else chose stays one line that steers nothing, whoever shows it."""

import pytest

from deploy.readme import plain
from engine.errors import one_line, shortened
from engine.frameworks import FRAMEWORKS, MADE_HERE
from models.catalog import CATALOG
from pages.parts import wording


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("my model.onnx", "my model.onnx"),
        ("a\r\nb\tc", "a b c"),
        ("red\x1b[31m", "red[31m"),
        ("fdp\u202eexe", "fdpexe"),
        ("Größe 图像", "Größe 图像"),
        (Exception("no\nway"), "no way"),
    ],
)
def test_one_line_steers_nothing(given, line):
    assert one_line(given) == line
    for shown in (plain(str(given)), wording.plain(given), wording.code(given)):
        assert shown.isprintable() or "\u2060" in shown
        assert "\n" not in shown and "\x1b" not in shown and "\u202e" not in shown


def test_our_own_networks_come_in_the_frameworks_that_say_so():
    assert list(MADE_HERE) == ["pytorch", "keras"] and set(MADE_HERE) < set(FRAMEWORKS)
    assert {entry.framework for entry in CATALOG.values()} == set(MADE_HERE)


@pytest.mark.parametrize(
    "text, most, expected",
    [
        ("fits", 10, "fits"),
        ("Unsupported operator NonMaxSuppression here", 30, "Unsupported operator…"),
        ("two\nlines and more", 9, "two…"),
        ("unbroken" * 10, 9, "unbroken…"),
        ("a word,", 7, "a word,"),
    ],
)
def test_a_text_is_cut_between_words_and_says_so(text, most, expected):
    assert shortened(text, most) == expected and len(expected) <= most
