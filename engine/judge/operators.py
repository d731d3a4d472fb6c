"""Why a file is (not) faster on this machine, in words, from what its operators took."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from engine.vocabulary import Plain

KINDS = {
    "int8": "INT8 arithmetic",
    "float": "float arithmetic",
    "conversion": "converting between the two",
    "layout": "putting tensors in another order",
}
NOTED = 0.01  # of the time; what takes less is not named


class OperatorTime(Plain):
    """What all calls of one operator took of an inference, as the runtime's own profiler tells.

    kind: `int8` arithmetic, `float` arithmetic, `conversion` between the two, `layout` (tensors put in
    another order).
    """

    name: str = Field(max_length=80)
    kind: Literal["int8", "float", "conversion", "layout"]
    calls: int = Field(gt=0)
    ms: float = Field(ge=0, allow_inf_nan=False)


def shares(rows: Sequence[OperatorTime]) -> dict[str, float]:
    """Returns the share (fractions) of an inference's time by kind, the largest first."""
    total = sum(row.ms for row in rows)
    found = {kind: sum(row.ms for row in rows if row.kind == kind) for kind in KINDS}
    return {kind: ms / total for kind, ms in sorted(found.items(), key=lambda item: -item[1]) if total}


def why(own: Sequence[OperatorTime], baseline: Sequence[OperatorTime]) -> str:
    """Returns one sentence on where a file's time goes, and how that compares with the baseline; "" where
    nothing is known.
    """
    ms, before = (sum(row.ms for row in rows) for rows in (own, baseline))
    if not ms or not before:
        return ""
    parts = [f"{100 * share:.0f} % {KINDS[kind]}" for kind, share in shares(own).items() if share >= NOTED]
    ratio = before / ms
    faster = f"{ratio:.2g} times as fast as" if ratio >= 1.05 else f"{1 / ratio:.2g} times as slow as"
    if 0.95 < ratio < 1.05:
        faster = "as fast as"
    sentence = f"On this machine, one thread, it is {faster} your model; its time is {', '.join(parts)}."
    dearest = max(own, key=lambda row: row.ms)
    if ratio < 1.05 and dearest.kind in ("conversion", "layout"):
        sentence += f" What it gains is spent in {dearest.name}."
    return sentence
