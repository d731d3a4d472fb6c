"""Predicts what an artifact costs on a device, from its profile. Pure; under a millisecond once the files are
read.
"""

from functools import lru_cache
from math import exp, log, sqrt
from typing import Any, NamedTuple

import numpy as np

from estimator import capability, confidence, features, layers, memory, routes
from estimator.coefficients import load
from estimator.devices import Device, load_device
from estimator.types import Calibration, Estimate, Precision, Profile

NOTABLE = 0.02
HOPELESS = log(8)  # an interval wider than 8 times either way says nothing: beyond the data


class Time(NamedTuple):
    """A latency and its log half-width, with what they rest on: the distance to the nearest measured network,
    how many are near, the ms that each term of the cost model adds, and the overhead's share of the latency.
    """

    latency_ms: float
    half: float
    distance: float
    near: int
    terms: dict[str, float]
    overhead: float


def estimate(
    profile: Profile,
    device: str,
    runtime: str | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    calibration: Calibration | None = None,
    by_layer: bool = False,
) -> Estimate:
    """Predicts latency, memory and energy of one artifact for one image.

    Args:
        profile: Of the artifact's own file (`estimator.graph.profile`), or `by_hand`.
        device: A device id. Raises UnknownDevice for another.
        runtime, threads, precision: Default to the device's runtime for the format, all cores, and the
        profile's
            precision. Raises ValueError for a runtime that the device does not have.
        calibration: What the user measured on this device (`estimator.calibrate.calibrate`).
        by_layer: Whether to say what each layer adds (`Estimate.layers`).

    Returns:
        An Estimate; its figures are None where the device can't run the artifact or the data say nothing, and
        `why`
        says which.
    """
    machine = load_device(device)
    runtime = runtime or capability.default_runtime(machine, profile, precision)
    stored = precision or profile.precision
    arithmetic = capability.arithmetic(machine, runtime, stored, profile)
    threads = capability.threads(machine, runtime, threads)
    blank = Estimate(device=device, runtime=runtime, precision=stored, threads=threads)
    if arithmetic.verdict == "unsupported":
        return blank.model_copy(update={"why": arithmetic.why})
    held = _memory(profile, machine, runtime, stored, arithmetic.runs_as)
    refused = capability.too_large(machine, held[0])
    if refused:
        return blank.model_copy(update={**_memory_fields(held), "why": refused})
    x = features_of(profile)
    place = machine.measured_as(runtime)
    route = routes.find(place, runtime, arithmetic.runs_as, threads, _needs(x))
    if route is None:
        return blank.model_copy(
            update={
                **_memory_fields(held),
                "why": f"No measurements of {runtime} on {machine.name} or a relative of it: no prediction.",
            }
        )
    time = _time(x, route)
    note = arithmetic.why if arithmetic.verdict in ("falls back", "pointless") else ""
    if time.half > HOPELESS:
        return blank.model_copy(
            update={
                **_memory_fields(held),
                "confidence": 0.0,
                "why": (
                    "Beyond the data: the network is unlike anything measured"
                    f" ({routes.describe(route, machine)})."
                ),
            }
        )
    count = 0
    if calibration is not None:
        time, count = _calibrated(time, calibration, runtime, stored, threads)
    found = _filled(blank, time, held, _why(time, route, machine, note, count), count)
    if by_layer:
        parts = layers.costs(profile, time.terms, time.latency_ms, time.half, time.overhead)
        found = found.model_copy(update={"layers": parts})
    return found


def features_of(profile: Profile) -> np.ndarray:
    """Features of a profile; a what-if without layers gets those of a plain convolutional network."""
    if profile.format == "manual" and not profile.layers:
        return features.by_hand(profile.macs, profile.parameters)
    return features.from_profile(profile)


def _needs(x: np.ndarray) -> frozenset[str]:
    """Kinds of MACs that make up more than NOTABLE of a network."""
    kinds = features.NAMES[2:6]
    return frozenset(k for k, macs in zip(kinds, x[2:6], strict=True) if macs > NOTABLE * x[2:6].sum())


def by_hand(macs: int, parameters: int, precision: Precision = "float32") -> Profile:
    """A profile for a what-if of which only MACs and parameters are known; sizes follow from the
    precision.
    """
    weight_bytes = parameters * memory.BITS[precision] // 8
    touched = int(features.by_hand(macs, parameters)[features.NAMES.index("activations")] * 1e6)
    return Profile(
        format="manual",
        precision=precision,
        layers=(),
        parameters=parameters,
        macs=macs,
        weight_bytes=weight_bytes,
        input_elements=touched // 2,
        output_elements=touched // 2,
        peak_activation_bytes=0,
        size_bytes=weight_bytes,
    )


@lru_cache(maxsize=256)
def _group(name: str) -> tuple[list[int], np.ndarray, np.ndarray | None, np.ndarray, dict[str, Any]]:
    """Columns, coefficients, correction, measured networks and entry of a fitted group."""
    entry = load()["groups"][name]
    columns = [features.NAMES.index(term) for term in entry["terms"]]
    reference = entry.get("reference") or [load()["networks"][key] for key in entry["networks"]]
    correction = entry["correction"]
    return (
        columns,
        np.array(list(entry["terms"].values())),
        None if correction is None else np.array(correction),
        np.array(reference),
        entry,
    )


def time_of(x: np.ndarray, group: str) -> Time:
    """The latency that a fitted group gives for features, with no transfer; for validation."""
    return _time(x, routes.Route(group, 1.0, 0.0, ()))


def _time(x: np.ndarray, route: routes.Route) -> Time:
    columns, coefficients, correction, reference, entry = _group(route.group)
    parts = x[columns] * coefficients
    overhead = float(parts[columns.index(0)]) if 0 in columns else 0.0
    work = float(parts.sum() - overhead)
    if correction is not None:
        work *= exp(float(features.learned(parts, correction)))
    # Below the smallest measured network nothing tells the overhead of an inference from the work in it. It
    # is taken to
    # shrink with the work (NAS-Bench-201 finds next to none), and the interval grows by what the largest that
    # fits adds.
    smallest = max(entry["smallest_work_ms"], 1e-9)
    kept = overhead * min(1.0, work / smallest)
    doubt = log(1 + entry["most_overhead_ms"] / smallest) * min(
        1.0, max(0.0, log(smallest / max(work, 1e-9)))
    )
    # Reference points stand for a whole benchmark: within their radius nothing is new.
    distance = max(confidence.novelty(x, reference) - entry.get("radius", 0.0), 0.0)
    half = confidence.half_width(
        entry["half_width"], entry["novelty_slope"], distance, sqrt(route.half_width**2 + doubt**2)
    )
    terms = {name: ms for name, ms in zip(entry["terms"], parts.tolist(), strict=True) if name != "overhead"}
    return Time(
        (work + kept) * route.ratio,
        half,
        distance,
        confidence.similar(x, reference),
        terms,
        kept / max(work + kept, 1e-12),
    )


def _memory(
    profile: Profile, machine: Device, runtime: str, stored: Precision, computed: Precision
) -> tuple[float | None, float]:
    """Peak memory in MB and its log half-width, None where no rule is known for the runtime."""
    found = load()["memory"]
    if runtime == "tensorrt":
        constant = found["constant_mb"].get(machine.id)
        if constant is None:
            return None, 0.0
        # The measured networks are within a few per cent of one figure; weights larger than theirs come on
        # top.
        return constant["mb"] + max(profile.weight_bytes / 1e6 - 100, 0), constant["half_width"] + 0.05
    if runtime not in memory.BASE_MB:
        return None, 0.0
    arena = profile.peak_activation_bytes * memory.BITS[computed] / memory.BITS[_activations(profile)]
    if profile.format == "manual":
        arena = memory.LARGEST_PAIR * profile.output_elements * memory.BITS[computed] / 8
    total = memory.packed_bytes(profile.weight_bytes, profile.parameters, stored, computed) + arena
    return total / 1e6 + memory.BASE_MB[runtime], found["rule"]["half_width"]


def _activations(profile: Profile) -> Precision:
    heavy = [layer for layer in profile.layers if layer.macs]
    return max(heavy, key=lambda layer: layer.macs).activation_precision if heavy else "float32"


def _memory_fields(held: tuple[float | None, float]) -> dict[str, float | None]:
    middle, half = held
    if middle is None:
        return {}
    return {"memory_mb": middle, "memory_low_mb": middle * exp(-half), "memory_high_mb": middle * exp(half)}


def _calibrated(
    time: Time, calibration: Calibration, runtime: str, precision: str, threads: int
) -> tuple[Time, int]:
    """Applies the user's own measurements where they are of this runtime."""
    known = calibration.correction(runtime, precision, threads)
    if known is None:
        return time, 0
    latency_ms, half = known.apply(time.latency_ms, time.half)
    return time._replace(latency_ms=latency_ms, half=half), known.measurements


def _filled(blank: Estimate, time: Time, held: tuple[float | None, float], why: str, count: int) -> Estimate:
    power = load()["power"].get(blank.device)
    watts = power["load_w"] if power and power["meaning"].startswith("whole board") else None
    if power and power["meaning"].startswith("one thread") and blank.threads == 1:
        watts = power["load_w"] + (load_device(blank.device).idle_w or 0.0)
    return blank.model_copy(
        update={
            "latency_ms": time.latency_ms,
            "low_ms": time.latency_ms * exp(-time.half),
            "high_ms": time.latency_ms * exp(time.half),
            **_memory_fields(held),
            "energy_mj": None if watts is None else time.latency_ms * watts,
            "throughput_per_s": 1000 / time.latency_ms,
            "confidence": round(confidence.score(time.half), 3),
            "why": why,
            "calibrated_with": count,
        }
    )


def _why(time: Time, route: routes.Route, machine: Device, note: str, count: int) -> str:
    """One sentence or two: what the prediction rests on, and what weakens it."""
    parts = [routes.describe(route, machine)]
    if time.near:
        parts.append(f"{time.near} similar network{'s' if time.near > 1 else ''} among them")
    else:
        parts.append("none of them similar to this one, so the interval is wider")
    if not confidence.gives_quantile(load()["groups"][route.group]["validation"]["networks"]):
        parts.append("too few for an interval of their own, which is borrowed from other groups")
    sentence = ", ".join(parts)
    if count:
        sentence = f"Calibrated with {count} of your measurements; " + sentence[0].lower() + sentence[1:]
    level = confidence.in_words(confidence.score(time.half))
    return f"{sentence}; confidence {level}." + (f" {note}" if note else "")
