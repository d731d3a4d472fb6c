"""Times the model in this folder on this device: python benchmark.py [--threads N] [--runs N] [--output FILE]

Writes a JSON file that Edgewise reads back to correct its predictions for this device:
python -m engine calibrate DEVICE benchmark-result.json
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
from infer import load, read_image, read_metadata
from preprocessing import preprocess


def governor() -> str:
    """Returns the processor's frequency governor, or "" where the system does not tell."""
    try:
        with open("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") as file:
            return file.read().strip()
    except OSError:
        return ""


def main() -> None:
    """Warms up, times single images and writes the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--output", default="benchmark-result.json")
    arguments = parser.parse_args()
    metadata = read_metadata()
    model = load(metadata, arguments.threads)
    one = preprocess(
        read_image(
            os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.png"), metadata["preprocessing"]
        )[None],
        metadata["preprocessing"],
    )
    for _ in range(20):
        model.run_once(one)
    times = []
    for _ in range(arguments.runs):
        began = time.perf_counter()
        model.run_once(one)
        times.append((time.perf_counter() - began) * 1000)
    p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    result = {
        "schema_version": 1,
        "device": metadata["device"],
        "runtime": model.id,
        "runtime_version": model.version,
        "threads": arguments.threads,
        "precision": metadata["artifact"]["precision"],
        "int4_weights": metadata["artifact"]["int4_weights"],
        "mixed_precision": metadata["artifact"]["mixed_precision"],
        "governor": governor(),
        "models": [
            {
                "variant": metadata["variant"],
                "sha256": metadata["artifact"]["sha256"],
                "profile": metadata["profile"],
                "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "runs": arguments.runs},
            }
        ],
    }
    with open(arguments.output, "w") as file:
        json.dump(result, file, indent=1)
    print(
        "p50 %.3f ms, p95 %.3f ms, p99 %.3f ms with %d threads; written to %s"
        % (p50, p95, p99, arguments.threads, arguments.output)
    )


if __name__ == "__main__":
    main()
