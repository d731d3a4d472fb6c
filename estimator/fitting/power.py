"""Power under load by device, from rows that were measured together with latency. Never pooled across
definitions.
"""

from typing import Any

import numpy as np
import pandas as pd

ROWS = 3


def measure(data: pd.DataFrame, bench: pd.DataFrame | None, before: dict[str, Any]) -> dict[str, Any]:
    """Returns by device `{"load_w", "low_w", "high_w", "rows", "meaning", "frozen"}`, watts: median, 5 % and
    95 %.

    The Raspberry Pi 5's figure comes from NAS-Bench-201, whose rows may be absent; it is then taken from
    `before`.
    """
    found = {k: v for k, v in before.items() if v["frozen"]}
    measured = data[data.power_w.notna() & ~data.runtime.eq("qutibench")]
    for device, part in measured.groupby("device"):
        if len(part) >= ROWS:
            found[str(device)] = _entry(
                part.power_w.to_numpy(), "whole board under load, idle included", False
            )
    if bench is not None:
        watts = (bench.energy_mj / bench.latency_ms).to_numpy()
        found["raspberry_pi_5"] = _entry(watts, "one thread, net of an idle 0.755 W", True)
    return found


def _entry(watts: np.ndarray, meaning: str, frozen: bool) -> dict[str, Any]:
    low, middle, high = np.quantile(watts, [0.05, 0.5, 0.95])
    return {
        "load_w": float(middle),
        "low_w": float(low),
        "high_w": float(high),
        "rows": len(watts),
        "meaning": meaning,
        "frozen": frozen,
    }
