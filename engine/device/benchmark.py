"""Times the model in this folder on this device: python benchmark.py [--threads N] [--runs N] [--minutes M]

Writes a JSON file that Edgewise reads back to correct its predictions for this device:
python -m engine calibrate DEVICE benchmark-result.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import numpy as np
from classifier import HERE, OTHER_RUNTIME, BadPackage, Classifier
from image import NoPicture
from machine import facts, peak_memory_mb, state
from power import energy, sensor
from preprocessing import preprocess

WARM_RUNS = 20


def main() -> None:
    """Warms up, times single images and writes the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runtime", choices=["opencv"], help=OTHER_RUNTIME)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on so long and time what is sustained")
    parser.add_argument("--power-seconds", type=float, default=5.0, help="of measuring watts, where it can")
    parser.add_argument("--output", default="benchmark-result.json")
    arguments = parser.parse_args()
    try:
        classifier = Classifier(arguments.threads, runtime=arguments.runtime)
        picture = classifier.read_file(os.path.join(HERE, "sample.png"))
    except (BadPackage, NoPicture, OSError) as error:
        sys.exit(str(error))
    one, model = preprocess(picture[None], classifier.spec), classifier.model
    for _ in range(WARM_RUNS):
        model.run_once(one)
    before = state()
    latency = percentiles(timed(model, one, arguments.runs))
    during = state()
    sustained = None
    if arguments.minutes:
        ends = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < ends:
            sustained = percentiles(timed(model, one, arguments.runs))
    result = written(classifier, arguments.threads, latency)
    result["machine"] = {**facts(), "before": before, "during": during, "after": state()}
    result["sustained_ms"] = sustained
    result["energy"] = energy(lambda: model.run_once(one), arguments.power_seconds, sensor())
    with open(arguments.output, "w") as file:
        json.dump(result, file, indent=1)
    print(
        "p50 %.3f ms, p95 %.3f ms, p99 %.3f ms with %d threads%s; written to %s"
        % (
            *(latency[name] for name in ("p50", "p95", "p99")),
            arguments.threads,
            "; p50 %.3f ms after %g minutes" % (sustained["p50"], arguments.minutes) if sustained else "",
            arguments.output,
        )
    )


def timed(model: Any, one: np.ndarray, runs: int) -> list[float]:
    """Returns the milliseconds of single images."""
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        model.run_once(one)
        times.append((time.perf_counter() - began) * 1000)
    return times


def percentiles(times: list[float]) -> dict[str, Any]:
    """Returns p50, p95 and p99, and how many were timed."""
    p50, p95, p99 = (float(value) for value in np.percentile(times, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "runs": len(times)}


def written(classifier: Classifier, threads: int, latency: dict[str, Any]) -> dict[str, Any]:
    """Returns what `calibrate` reads."""
    metadata = classifier.metadata
    artifact = metadata["artifact"]
    return {
        "schema_version": 1,
        "device": metadata["device"],
        "runtime": classifier.model.id,
        "runtime_version": classifier.model.version,
        "threads": threads,
        "precision": getattr(classifier.model, "precision", artifact["precision"]),
        "int4_weights": artifact["int4_weights"],
        "mixed_precision": artifact["mixed_precision"],
        "governor": facts()["governor"],
        "models": [
            {
                "variant": metadata["variant"],
                "sha256": artifact["sha256"],
                "profile": metadata["profile"],
                "latency_ms": latency,
                "memory_mb": peak_memory_mb(),
            }
        ],
    }


if __name__ == "__main__":
    main()
