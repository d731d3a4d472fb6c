"""How long one prediction takes: `python -m benchmarks.estimator_speed`."""

import json
import platform
import time
from pathlib import Path

from estimator.devices import all_devices
from estimator.predict import by_hand, estimate

RESULT = Path(__file__).parent / "results" / "estimator_speed.json"


def main() -> None:
    """Writes the first call's and the median later call's time in ms, over all devices."""
    profile = by_hand(300_000_000, 3_500_000)
    start = time.perf_counter()
    estimate(profile, "raspberry_pi_4")
    first_ms = 1000 * (time.perf_counter() - start)
    times_ms = []
    for device in list(all_devices()) * 50:
        start = time.perf_counter()
        estimate(profile, device)
        times_ms.append(1000 * (time.perf_counter() - start))
    found = {
        "first_ms": round(first_ms, 2),
        "median_ms": round(sorted(times_ms)[len(times_ms) // 2], 3),
        "p99_ms": round(sorted(times_ms)[int(0.99 * len(times_ms))], 3),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(
        json.dumps(
            {"command": "python -m benchmarks.estimator_speed", "machine": platform.machine(), **found},
            indent=1,
        )
        + "\n"
    )
    print(found)


if __name__ == "__main__":
    main()
