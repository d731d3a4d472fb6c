"""A picture through a run's files: as they answered it before, or one sentence."""

import base64

import numpy as np
import pytest

from engine.errors import BadInput
from engine.run import trying
from engine.wall import sandbox
from engine.wall.sandbox import Failed


def asked(digits_run, content):
    names = ("baseline", "ptq_int8", "hybrid@smallest")
    found = [v for v in digits_run.run.variants if v.id in names]
    return trying.try_picture(digits_run.run, found, content, digits_run.workspace)


def test_it_answers_as_the_files_did_when_they_were_measured(digits_run):
    content = (digits_run.folder / "golden" / "05.png").read_bytes()
    found = asked(digits_run, content)
    assert set(found.answers) == {"baseline", "ptq_int8", "hybrid@smallest"}
    np.testing.assert_array_equal(
        found.image, np.load(digits_run.folder / "golden" / "pixels.npy")[_place(5)]
    )
    for name, answer in found.answers.items():
        scores = np.load(digits_run.file(name).with_suffix(".golden.npy"))[_place(5)]
        assert answer.likeliest[0][0] == scores.argmax() and answer.ms > 0
        shares = [share for _, share in answer.likeliest]
        assert shares == sorted(shares, reverse=True) and len(shares) == 5


def _place(number: int) -> int:
    """Returns where a picture stands in the golden arrays: of each of the first four a JPEG comes before."""
    return number + min(number, 4)


def test_what_is_no_picture_is_one_sentence(digits_run, monkeypatch):
    with pytest.raises(BadInput, match="can't be read as a picture: it is none of JPEG"):
        asked(digits_run, b"MZ not a picture")
    with pytest.raises(BadInput, match="is empty"):
        asked(digits_run, b"")
    monkeypatch.setattr(trying, "MOST_BYTES", 3)
    with pytest.raises(BadInput, match="choose a smaller one"):
        asked(digits_run, b"four")


GOOD = {"likeliest": [[1, 0.9]], "ms": 0.1}
PIXELS = base64.b64encode(bytes(28 * 28)).decode()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"pixels": PIXELS, "answers": {"baseline": GOOD}},
        {"pixels": PIXELS[:8], "answers": dict.fromkeys(("baseline", "ptq_int8", "hybrid@smallest"), GOOD)},
        *(
            {"pixels": PIXELS, "answers": dict.fromkeys(("baseline", "ptq_int8", "hybrid@smallest"), bad)}
            for bad in (
                {"likeliest": [[10, 0.9]], "ms": 0.1},
                {"likeliest": [[1, 1.5]], "ms": 0.1},
                {"likeliest": [], "ms": 0.1},
                {"likeliest": [[1, 0.9]], "ms": -1},
            )
        ),
    ],
)
def test_what_a_hostile_child_answers_is_refused(digits_run, monkeypatch, answer):
    monkeypatch.setattr(sandbox, "run", lambda *given, **named: answer)
    with pytest.raises(Failed, match="something else"):
        asked(digits_run, b"picture")
