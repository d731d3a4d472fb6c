"""What a variant lost and won: counted one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.judge.changes import ANSWERS, by_class, changes, wrong_confidence

ROW = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.floats(0, 1, width=16))


def answers(classes, confidences):
    found = np.empty(len(classes), ANSWERS)
    found["answer"], found["confidence"] = classes, confidences
    return found


@given(st.lists(ROW, max_size=40))
def test_every_image_that_one_of_both_has_right_is_there_once(rows):
    true, before, after, sure = (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 4
    found = changes(np.array(true, int), answers(before, sure), answers(after, [1 - s for s in sure]))
    lost = {i for i, (t, b, a, _) in enumerate(rows) if b == t != a}
    won = {i for i, (t, b, a, _) in enumerate(rows) if a == t != b}
    assert {c.image for c in found if c.direction == "lost"} == lost
    assert {c.image for c in found if c.direction == "won"} == won and len(found) == len(lost) + len(won)
    assert [wrong_confidence(c) for c in found] == sorted(map(wrong_confidence, found), reverse=True)
    counts = by_class(found)
    assert sum(count["lost"] + count["won"] for count in counts.values()) == len(found)
    assert all(c.true in counts for c in found)
