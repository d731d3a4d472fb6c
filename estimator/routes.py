"""From what was measured to what is asked: the group to start from and the ratios to multiply by."""

from functools import lru_cache
from math import exp, log, sqrt
from typing import Any, NamedTuple

from estimator.coefficients import load
from estimator.devices import Device, accelerated, all_devices

AXES = ("device", "runtime", "precision", "threads")


class Step(NamedTuple):
    """One ratio on the way: the axis that changes, between which values, and where the ratio was measured."""

    axis: str
    before: Any
    after: Any
    where: tuple[Any, ...]
    networks: int


class Route(NamedTuple):
    """A fitted group, the factor from it to what is asked, the factor's log half-width, and the steps
    taken.
    """

    group: str
    ratio: float
    half_width: float
    steps: tuple[Step, ...]


@lru_cache(maxsize=1024)
def find(
    device: str, runtime: str, precision: str, threads: int, needs: frozenset[str] = frozenset()
) -> Route | None:
    """The route with the smallest error, None where no group can be reached.

    `needs` names terms that the network can't do without (`depthwise_macs`): a group that never saw one is no
    start.
    """
    asked = (device, runtime, precision, threads)
    best: tuple[float, Route] | None = None
    for name, entry in sorted(load()["groups"].items()):
        if not needs <= set(entry["terms"]):
            continue
        place: tuple[Any, ...] = (*name.split("|")[:3], int(name.split("|")[3]))
        found = [_step(axis, place, asked) for axis in range(4) if place[axis] != asked[axis]]
        if place[3] == 0 and asked[3] and place[:3] == asked[:3]:
            found = []  # the source set no thread count: all cores, as is asked by default
        steps = [step for step in found if step is not None]
        if len(steps) < len(found) or _foreign(place, asked):
            continue
        half = sqrt(sum(step[1] ** 2 for step in steps))
        route = Route(
            name,
            exp(sum(step[0] for step in steps)),
            half,
            tuple(step[2] for step in steps),
        )
        total = sqrt(half**2 + entry["half_width"] ** 2)
        if best is None or total < best[0]:
            best = total, route
    return best[1] if best else None


def _foreign(place: tuple[Any, ...], asked: tuple[Any, ...]) -> bool:
    """Processors and accelerators share no ratios."""
    return (place[1] in accelerated()) != (asked[1] in accelerated())


@lru_cache(maxsize=4096)
def _step(axis: int, place: tuple[Any, ...], asked: tuple[Any, ...]) -> tuple[float, float, Step] | None:
    """Log ratio, log half-width and description of the best measured ratio along one axis."""
    found = load()
    best = None
    for entry in _ratios().get((AXES[axis], frozenset((place[axis], asked[axis]))), ()):
        ends = entry["from"], entry["to"]
        forward = ends[1][axis] == asked[axis]
        other = [AXES[i] for i in range(4) if i != axis and ends[0][i] not in (asked[i], place[i])]
        # A ratio that was measured under other conditions is as wrong as such ratios were found to be.
        # What a precision gains depends on the network more than on the place, so it is never taken as exact.
        away = len(other) or int(AXES[axis] == "precision")
        half = sqrt(entry["half_width"] ** 2 + away * found["elsewhere"][AXES[axis]] ** 2)
        value = log(entry["ratio"]) * (1 if forward else -1)
        if best is None or half < best[1]:
            best = value, half, Step(AXES[axis], place[axis], asked[axis], tuple(ends[0]), entry["networks"])
    return best


@lru_cache(maxsize=1)
def _ratios() -> dict[tuple[str, frozenset[Any]], list[dict[str, Any]]]:
    """All measured ratios by axis and the two values they join."""
    joined: dict[tuple[str, frozenset[Any]], list[dict[str, Any]]] = {}
    for entry in (*load()["ratios"], *load()["frozen_ratios"]):
        place = AXES.index(entry["axis"])
        joined.setdefault((entry["axis"], frozenset((entry["from"][place], entry["to"][place]))), []).append(
            entry
        )
    return joined


def describe(route: Route, machine: Device) -> str:
    """What a prediction rests on, in words: `39 networks measured on this device with litert`."""
    device, runtime, precision, threads = route.group.split("|")
    validation = load()["groups"][route.group]["validation"]
    where = "this device" if device == machine.id else _name(device)
    count = "all cores" if threads == "0" else f"{threads} thread{'s' if threads != '1' else ''}"
    text = f"{validation['networks']:,} networks measured on {where} with {runtime} ({precision}, {count})"
    return text + "".join(", " + _in_words(step) for step in route.steps)


def _in_words(step: Step) -> str:
    if step.axis == "device":
        what = f"transferred to {_name(step.after)}"
    elif step.axis == "threads":
        what = f"transferred to {step.after} threads" if step.after != 1 else "transferred to one thread"
    else:
        what = f"transferred to {step.after}"
    return f"{what} by a ratio from {step.networks:,} networks"


def _name(device: str) -> str:
    devices = all_devices()
    return devices[device].name if device in devices else device
