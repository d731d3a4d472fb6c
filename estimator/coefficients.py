"""`coefficients.json`: puts together what was fitted, reads it back. Numbers and names only, sorted and
rounded, so that two fits of the same rows give the same bytes."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "coefficients.json"
HELD_OUT = Path(__file__).parent / "held_out.json"
SCHEMA_VERSION = 1


def rounded(value: Any, digits: int = 6) -> Any:
    """Rounds every float to significant digits, through dicts and lists; NumPy numbers become Python's."""
    if isinstance(value, dict):
        return {str(k): rounded(v, digits) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    if hasattr(value, "tolist"):
        return rounded(value.tolist(), digits)
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    return value


def dump(content: dict[str, Any]) -> str:
    """JSON with one line a leaf list, keys sorted, so that a change can be read in a diff."""

    def write(value: Any, depth: int) -> str:
        if isinstance(value, dict) and value and depth < 4:
            pad = " " * (depth + 1)
            inner = ",\n".join(
                f"{pad}{json.dumps(k)}: {write(v, depth + 1)}" for k, v in sorted(value.items())
            )
            return "{\n" + inner + "\n" + " " * depth + "}"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            pad = " " * (depth + 1)
            return (
                "[\n"
                + ",\n".join(pad + json.dumps(v, sort_keys=True) for v in value)
                + "\n"
                + " " * depth
                + "]"
            )
        return json.dumps(value, sort_keys=True)

    return write(rounded(content), 0) + "\n"


@lru_cache(maxsize=1)
def load() -> dict[str, Any]:
    """The shipped coefficients. Cached: treat as read-only."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


@lru_cache(maxsize=1)
def held_out() -> dict[str, list[list[Any]]]:
    """By group: `[network, measured_ms, predicted_ms]` of every shipped row, predicted with its family held
    out.
    """
    found: dict[str, list[list[Any]]] = json.loads(HELD_OUT.read_text())
    return found
