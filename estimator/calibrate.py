"""Corrects predictions with what the user measured on their own device.

A package's `benchmark.py` writes a `BenchmarkResult`; `calibrate` compares it with the predictions and gives
a `Calibration`, which `estimate` takes. Both go to JSON and back.
"""

from math import exp, log, sqrt
from statistics import median
from typing import Literal

from pydantic import Field, FiniteFloat, PositiveInt

from estimator.devices import Device
from estimator.predict import estimate
from estimator.types import Calibration, Correction, Frozen, Precision, Profile

SPREAD = 0.1  # log: what one board's measurement differs from another's by when nothing else does


class LatencyResult(Frozen):
    """Milliseconds for one image; `runs` is how many were timed."""

    p50: FiniteFloat = Field(gt=0)
    p95: FiniteFloat | None = Field(default=None, gt=0)
    p99: FiniteFloat | None = Field(default=None, gt=0)
    runs: PositiveInt | None = None


class ModelResult(Frozen):
    """One measured artifact: which variant, the file's SHA-256 (hex), its profile, its latency, peak memory
    in MB.
    """

    variant: str = Field(max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    profile: Profile
    latency_ms: LatencyResult
    memory_mb: FiniteFloat | None = Field(default=None, gt=0)


class Machine(Frozen):
    """What says which machine was measured, as its system tells; "" and None where it does not.

    Attributes:
        board: The model of the board that the firmware names.
        before, during, after: Temperature (°C), clock (MHz) and power (W) around the measurement.
    """

    board: str = Field(default="", max_length=200)
    cpu: str = Field(default="", max_length=200)
    architecture: str = Field(default="", max_length=50)
    cores: PositiveInt | None = None
    kernel: str = Field(default="", max_length=200)
    python: str = Field(default="", max_length=50)
    governor: str = Field(default="", max_length=100)
    before: dict[str, FiniteFloat | None] = {}
    during: dict[str, FiniteFloat | None] = {}
    after: dict[str, FiniteFloat | None] = {}


class BenchmarkResult(Frozen):
    """What a package's benchmark writes on the device.

    Attributes:
        schema_version: 1.
        device: The device id that the package was made for.
        runtime, runtime_version, threads, precision: How it was measured.
        governor: The processor's frequency governor, where it can be read.
        int4_weights, mixed_precision: Whether weights are stored in INT4, and in several precisions; such a
            result says nothing of any one precision, so it calibrates none.
        models: One entry an artifact.
        machine: What was measured; None from a package of an earlier version.
        sustained_ms: Of the last model, after the minutes that were asked for.
    """

    schema_version: Literal[1] = 1
    device: str = Field(max_length=100)
    runtime: str = Field(max_length=100)
    runtime_version: str = Field(default="", max_length=100)
    threads: PositiveInt
    precision: Precision
    governor: str = Field(default="", max_length=100)
    int4_weights: bool = False
    mixed_precision: bool = False
    models: tuple[ModelResult, ...] = Field(min_length=1, max_length=1000)
    machine: Machine | None = None
    sustained_ms: LatencyResult | None = None


def why_another(machine: Machine, device: Device) -> str:
    """Returns why a machine can't be this device, or an empty string."""
    if device.architecture and machine.architecture not in ("", device.architecture):
        processor = f"{machine.cpu} ({machine.architecture})" if machine.cpu else machine.architecture
        return f"it was measured on {processor}, which is no {device.name}"
    if device.board and device.board not in machine.board:
        named = f"calls itself {machine.board!r}" if machine.board else "names no board, as an emulator does"
        return f"the machine that was measured {named}, and a {device.name} calls itself {device.board!r}"
    return ""


def calibrate(results: tuple[BenchmarkResult, ...]) -> Calibration:
    """Turns benchmark results of one device into a calibration.

    The factor is the median of measured / predicted. With n measurements it is drawn towards one by n / (n +
    1), and
    what is left of the prediction's own interval shrinks by 1 / sqrt(1 + n): networks still differ in what
    the
    factor can't know. A file (by its SHA-256) counts once, the last result standing.

    Raises ValueError for results of different devices, or where nothing was predicted to compare with.
    """
    names = {result.device for result in results}
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise ValueError(f"Benchmark results of one device are needed; these are of {found}.")
    device = names.pop()
    errors: dict[tuple[str, Precision, int], dict[str, float]] = {}
    for result in results:
        if result.mixed_precision:
            continue
        for model in result.models:
            guess = estimate(model.profile, device, result.runtime, result.threads, result.precision)
            if guess.latency_ms is not None:
                errors.setdefault((result.runtime, result.precision, guess.threads), {})[model.sha256] = log(
                    model.latency_ms.p50 / guess.latency_ms
                )
    if not errors:
        raise ValueError(f"Nothing in these results can be compared with a prediction for {device}.")
    return Calibration(
        device=device,
        corrections=tuple(_correction(key, tuple(found.values())) for key, found in sorted(errors.items())),
    )


def _correction(key: tuple[str, Precision, int], logs: tuple[float, ...]) -> Correction:
    n = len(logs)
    middle = median(logs) * n / (n + 1)
    spread = median(abs(e - median(logs)) for e in logs) if n > 2 else 0.0
    return Correction(
        runtime=key[0],
        precision=key[1],
        threads=key[2],
        ratio=exp(middle),
        half_width=sqrt(SPREAD**2 + (2.44 * spread) ** 2),
        left=1 / sqrt(1 + n),
        measurements=n,
    )
