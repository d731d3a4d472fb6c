"""A budget is kept or broken, and what is not known is no pass."""

import pytest

from engine.errors import BadInput
from engine.judge.budget import held_against
from engine.vocabulary import Constraints, Estimate, Variant

VARIANT = Variant(
    id="model.onnx",
    technique="",
    status="done",
    size_bytes=500_000,
    estimates={
        "pi": Estimate(
            device="pi", runtime="r", precision="float32", threads=1, latency_ms=4.0, low_ms=3.0, high_ms=6.0
        )
    },
)


@pytest.mark.parametrize(
    ("limits", "cautious", "kept", "broken"),
    [
        ({"max_size_mb": 0.5}, False, ["size 0.500 MB, at most 0.5 MB"], []),
        ({"max_size_mb": 0.4999}, False, [], ["size 0.500 MB, at most 0.4999 MB"]),
        ({"max_latency_ms": 5}, False, ["latency 4.00 ms, at most 5 ms"], []),
        ({"max_latency_ms": 5}, True, [], ["latency 6.00 ms, at most 5 ms"]),
    ],
)
def test_each_limit_is_kept_or_broken(limits, cautious, kept, broken):
    assert held_against(VARIANT, Constraints(**limits), "pi", cautious) == (kept, broken)


@pytest.mark.parametrize(
    ("limits", "device", "said"),
    [
        ({"max_accuracy_drop_pp": 1}, "pi", "accuracy is measured by a run"),
        ({"max_latency_ms": 5}, "jetson", "choose another device"),
        ({}, "pi", "no limit to check"),
    ],
)
def test_what_is_not_known_is_no_pass(limits, device, said):
    with pytest.raises(BadInput, match=said):
        held_against(VARIANT, Constraints(**limits), device)
