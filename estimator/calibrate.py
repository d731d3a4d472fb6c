"""Corrects predictions with what the user measured on their own device.

A package's `benchmark.py` writes a `BenchmarkResult`; `calibrate` compares it with the predictions and gives
a `Calibration`, which `estimate` takes. Both go to JSON and back.
"""

from math import exp, hypot, log, sqrt
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, FiniteFloat, PositiveInt

from estimator.devices import Device
from estimator.predict import estimate
from estimator.types import Calibration, Correction, Frozen, Precision, Profile

NORMAL = 1.6449  # half of a 90 % interval of a normal distribution, in deviations
SPREAD = 0.1  # log: half-width of a measurement itself
CHANCES = (0.8, 0.2)  # of either of RATIOS
RATIOS = (0.1, 0.7)  # log: deviations of a board like the one that was predicted, and of quite another
SLOPE, STEEPEST = 0.1, 0.5  # deviation of the slope before it is measured, and the most it may be
SLOPED = 3  # networks from which there is a slope
OUTLYING = 3.0  # deviations
# How many measurements the intervals' own width counts as, and the share of its variance that is networks'.
BELIEVED, BELIEVED_SCALE = 4.0, 1.0


class Measured(NamedTuple):
    """A network's measured and predicted milliseconds, and the prediction's log half-width."""

    measured_ms: float
    predicted_ms: float
    half: float


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
        before, during, after: Temperature (°C) and clock (MHz) around the measurement.
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


class Energy(Frozen):
    """What an inference cost, from a sensor of the device.

    Attributes:
        sensor, covers: Which one, and what it measures.
        idle_w, load_w: Mean watts at rest and at work.
        mj, mj_above_idle: Millijoules while one inference ran, and what it added (below 0 within the noise).
        runs: Inferences in the time that was measured.
    """

    sensor: str = Field(max_length=200)
    covers: str = Field(max_length=500)
    idle_w: FiniteFloat
    load_w: FiniteFloat
    mj: FiniteFloat
    mj_above_idle: FiniteFloat
    runs: FiniteFloat = Field(gt=0)


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
        energy: Of the last model; None where the device has no sensor.
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
    energy: Energy | None = None


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
    """Turns benchmark results of one device, of any number of models, into a calibration.

    Each runtime, precision and thread count is corrected by its own measurements only (see `correction`). A
    file (by its SHA-256) counts once, the last result standing.

    Raises ValueError for results of different devices, or where nothing was predicted to compare with.
    """
    names = {result.device for result in results}
    if len(names) != 1:
        found = ", ".join(sorted(names)) or "none"
        raise ValueError(f"Benchmark results of one device are needed; these are of {found}.")
    device = names.pop()
    measured: dict[tuple[str, Precision, int], dict[str, Measured]] = {}
    for result in results:
        if result.mixed_precision:
            continue
        for model in result.models:
            guess = estimate(model.profile, device, result.runtime, result.threads, result.precision)
            if guess.latency_ms is not None and guess.high_ms is not None:
                measured.setdefault((result.runtime, result.precision, guess.threads), {})[model.sha256] = (
                    Measured(model.latency_ms.p50, guess.latency_ms, log(guess.high_ms / guess.latency_ms))
                )
    if not measured:
        raise ValueError(f"Nothing in these results can be compared with a prediction for {device}.")
    return Calibration(
        device=device,
        corrections=tuple(correction(*key, tuple(found.values())) for key, found in sorted(measured.items())),
    )


def correction(runtime: str, precision: Precision, threads: int, found: tuple[Measured, ...]) -> Correction:
    """The log-linear correction of one runtime, precision and thread count: a Bayesian regression of
    log(measured / predicted) on the log of the predicted milliseconds.

    A prediction with a wide interval tells less. Ratio and slope are drawn towards 1 and 0, the slope being 0
    below SLOPED networks; a network far from the median counts as if it were OUTLYING deviations from it.
    What the measurements scatter by, beside what the intervals said, narrows or widens intervals, and the few
    they are widens them as Student's t does.
    """
    deviation = np.array([hypot(m.half, SPREAD) for m in found]) / NORMAL
    gaps = np.log([m.measured_ms / m.predicted_ms for m in found])
    if len(found) >= SLOPED:
        reach = OUTLYING * deviation
        gaps = np.clip(gaps, np.median(gaps) - reach, np.median(gaps) + reach)
    weights, sizes = 1 / deviation**2, np.log([m.predicted_ms for m in found])
    centre = np.average(sizes, weights=weights)
    away = sizes - centre
    level, level_variance = _level(float(np.average(gaps, weights=weights)), 1 / float(weights.sum()))
    slope, slope_weight = 0.0, 0.0
    if len(found) >= SLOPED:
        slope_weight = weights @ away**2 + 1 / SLOPE**2
        slope = float(np.clip(weights @ (away * gaps) / slope_weight, -STEEPEST, STEEPEST))
    freedom = BELIEVED + len(found)
    missed = weights @ (gaps - level - slope * away) ** 2
    scale = sqrt((BELIEVED * BELIEVED_SCALE + missed) / freedom)
    student = 1 + (NORMAL**2 + 1) / (4 * freedom)  # t's quantile over the normal's (Cornish and Fisher 1938)
    return Correction(
        runtime=runtime,
        precision=precision,
        threads=threads,
        ratio=exp(level),
        half_width=NORMAL * student * scale * sqrt(level_variance),
        left=student * scale,
        measurements=len(found),
        centre_ms=exp(centre),
        slope=slope,
        slope_half_width=NORMAL * student * scale / sqrt(slope_weight) if slope_weight else 0.0,
    )


def _level(mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance of the log ratio, of which `mean` was measured with a `variance`: the board is one
    of RATIOS by CHANCES, until it is measured. A small difference is mostly the networks'.
    """
    wide = np.square(RATIOS)
    chance = np.exp(-0.5 * mean**2 / (wide + variance) + 0.5 * mean**2 / (wide.max() + variance))
    chance *= CHANCES / np.sqrt(wide + variance)
    chance /= chance.sum()
    middles, spreads = mean * wide / (wide + variance), variance * wide / (wide + variance)
    level = float(chance @ middles)
    return level, float(chance @ (spreads + (middles - level) ** 2))
