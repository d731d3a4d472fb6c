"""Damaged copies of harmless files of every format: each is opened or refused with one sentence, and the
process lives on.
"""

import numpy as np
import pytest

from engine.formats.inspect import LIMITS
from engine.wall import sandbox
from tests.hostile import goods, mutate
from tests.hostile.test_hostile import assert_is_one_sentence

COUNT, SEED = 60, 2026


@pytest.mark.parametrize("kind", mutate.KINDS, ids=lambda kind: kind.__name__)
def test_damage_is_the_same_for_the_same_seed_and_is_damage(kind):
    data = bytes(range(256)) * 40
    first, second = (kind(bytearray(data), np.random.default_rng(1)) for _ in range(2))
    assert first == second != data


@pytest.mark.slow
@pytest.mark.parametrize("twin", goods.GOODS)
def test_damaged_copies_end_in_a_model_or_in_a_sentence(twin, tmp_path):
    """All in one child: whatever brought it down, or took its time or memory, would fail this test."""
    base, files, peak = goods.GOODS[twin](), {}, [0]
    damaged = dict(
        [
            *mutate.cut_offs(base),
            *mutate.mutations(base, COUNT, SEED),
            *(mutate.inside(base, COUNT, SEED) if base[:2] == b"PK" else ()),
        ]
    )
    for number, (what, data) in enumerate(damaged.items()):
        files[what] = tmp_path / f"{number}.bin"
        files[what].write_bytes(data)
    watch = sandbox.Watch(on_memory=peak.append)
    found = sandbox.run(
        "tests.hostile.many",
        {"files": {what: str(path) for what, path in files.items()}},
        sandbox.Limits(LIMITS.memory_bytes, 600),
        watch,
    )
    assert found.keys() == damaged.keys() and max(peak) < 1_500_000_000
    for what, (accepted, message, seconds) in found.items():
        assert accepted is not None, (what, message)
        assert seconds < 30, (what, seconds)
        if not accepted:
            assert_is_one_sentence(message)
    assert not all(accepted for accepted, _, _ in found.values())
