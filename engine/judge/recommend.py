"""Which variant to take, and why: pure functions over variants and limits.

Limits are checked on what is reported (test accuracy, file size, the device's estimate). Among the variants
that keep
them, the ranking uses the validation accuracy, so that the reported test accuracy is not what was selected
on.
"""

import math
from collections.abc import Callable

from engine.vocabulary import Constraints, Experiment, Flip, Goal, Recommendation, Variant
from estimator.devices import all_devices

PP_WORTH = math.log(
    2
)  # in the balanced score one percentage point weighs as much as a factor of two in size and time
FREE_DROP_PP = (
    2.0  # without a limit on accuracy, what loses more than this on validation images is ranked last
)
SIGNIFICANT = 0.05

LIMITS: dict[str, tuple[str, str, Callable[[Variant, str, bool], float | None]]] = {
    "max_accuracy_drop_pp": ("accuracy drop", "pp", lambda v, device, cautious: v.accuracy_drop_pp),
    "max_size_mb": (
        "size",
        "MB",
        lambda v, device, cautious: None if v.size_bytes is None else v.size_bytes / 1e6,
    ),
    "max_latency_ms": (
        "latency on the device",
        "ms",
        lambda v, device, cautious: estimated(v, device, "high_ms" if cautious else "latency_ms"),
    ),
    "max_memory_mb": (
        "memory on the device",
        "MB",
        lambda v, device, cautious: estimated(v, device, "memory_high_mb" if cautious else "memory_mb"),
    ),
    "max_energy_mj": (
        "energy for one image",
        "mJ",
        lambda v, device, cautious: estimated(v, device, "energy_mj"),
    ),
}


def device_name(device: str) -> str:
    """Returns a device's name for people; one that is not described (any more) keeps its id."""
    return all_devices()[device].name if device in all_devices() else device


def estimated(variant: Variant, device: str, figure: str) -> float | None:
    """Returns one figure of a variant's estimate for a device, None where there is none."""
    estimate = variant.estimates.get(device)
    return getattr(estimate, figure) if estimate else None


def runs_there(variant: Variant, device: str) -> bool:
    """Tells whether the device takes the file at all: not when that is called pointless and nothing can be
    predicted.
    """
    pointless = variant.capability is not None and variant.capability.answer == "pointless"
    return not (pointless and estimated(variant, device, "latency_ms") is None)


def judge(variant: Variant, experiment: Experiment) -> Variant:
    """Returns the variant with `admissible` and `misses` set for this experiment's limits."""
    admissible, misses = check(variant, experiment.constraints, experiment.device, experiment.cautious)
    return variant.model_copy(update={"admissible": admissible, "misses": misses})


def check(
    variant: Variant, constraints: Constraints, device: str, cautious: bool = False
) -> tuple[str, dict[str, float]]:
    """Returns `yes`, `no` or `unknown`, and by how much each broken limit is missed, in the limit's unit."""
    if variant.status != "done" or not runs_there(variant, device):
        return "no", {}
    values = {name: LIMITS[name][2](variant, device, cautious) for name in constraints.set_limits()}
    limits = constraints.set_limits()
    misses = {
        name: round(value - limits[name], 6)
        for name, value in values.items()
        if value is not None and value > limits[name] + 1e-9
    }
    if misses:
        return "no", misses
    return ("unknown" if None in values.values() else "yes"), {}


def recommend(
    variants: list[Variant], constraints: Constraints, goal: Goal, device: str, cautious: bool = False
) -> Recommendation:
    """Ranks what meets every limit and says why; where nothing does, names the nearest and by how much it
    misses.
    """
    done = [v for v in variants if v.status == "done"]
    if not done:
        return Recommendation(
            winner=None, ranking=[], reasons=["No variant was finished, so there is nothing to recommend."]
        )
    baseline = next((v for v in done if v.id == "baseline"), done[0])
    ranking = ranked(done, baseline, constraints, goal, device, cautious)
    if not ranking:
        able = [v for v in done if runs_there(v, device)]
        if not able:
            return Recommendation(
                winner=None,
                ranking=[],
                picks=dict.fromkeys(("quality", "balanced", "compact")),
                reasons=[f"Nothing that was made runs on {device_name(device)}: {baseline.capability.why}"],
            )
        nearest = min(able, key=lambda v: _distance(v, constraints, device, cautious))
        return Recommendation(
            winner=None,
            ranking=[],
            nearest=nearest.id,
            picks=dict.fromkeys(("quality", "balanced", "compact")),
            reasons=_near_reasons(nearest, constraints, device, cautious),
        )
    winner = ranking[0]
    flips = _flips(done, baseline, winner, constraints, goal, device, cautious)
    binding = _binding(done, baseline, winner, constraints, goal, device, cautious)
    picks = {
        name: next(iter(v.id for v in ranked(done, baseline, constraints, g, device, cautious)), None)
        for name, g in (("quality", Goal.accuracy), ("balanced", Goal.balanced), ("compact", Goal.size))
    }
    if baseline.validation_accuracy is None:
        picks["quality"] = None  # without labelled images nothing is known to be the most accurate
    return Recommendation(
        winner=winner.id,
        ranking=[v.id for v in ranking],
        binding=binding,
        flips=flips,
        picks=picks,
        reasons=_reasons(winner, baseline, done, constraints, goal, device, cautious, binding),
    )


def ranked(
    done: list[Variant], baseline: Variant, constraints: Constraints, goal: Goal, device: str, cautious: bool
) -> list[Variant]:
    """Returns the admissible variants, best first; one whose limits can't all be checked comes after those
    that can.
    """
    judged = [(v, check(v, constraints, device, cautious)[0]) for v in done]
    allowed = [(v, verdict) for v, verdict in judged if verdict != "no"]
    free = constraints.max_accuracy_drop_pp is None and goal != Goal.accuracy

    def key(entry: tuple[Variant, str]) -> tuple:
        variant, verdict = entry
        wild = free and validation_drop_pp(variant, baseline) > FREE_DROP_PP
        return verdict != "yes", wild, -score(variant, baseline, goal, device), variant.size_bytes, variant.id

    return [v for v, _ in sorted(allowed, key=key)]


def score(variant: Variant, baseline: Variant, goal: Goal, device: str) -> float:
    """Returns how good a variant is for a goal; differences of the balanced score are natural logarithms of
    ratios.
    """
    smaller = math.log(baseline.size_bytes / variant.size_bytes)
    faster = math.log(_latency(baseline, device, variant) / _latency(variant, device, baseline))
    lost = validation_drop_pp(variant, baseline)
    return {
        Goal.accuracy: -lost,
        Goal.size: smaller,
        Goal.speed: faster,
        Goal.balanced: (smaller + faster) / 2 - PP_WORTH * max(lost, 0.0),
    }[goal]


def validation_drop_pp(variant: Variant, baseline: Variant) -> float:
    """Returns the validation accuracy lost against the baseline, 0 where there is no labelled data."""
    if variant.validation_accuracy is None or baseline.validation_accuracy is None:
        return 0.0
    return 100 * (baseline.validation_accuracy - variant.validation_accuracy)


def _latency(variant: Variant, device: str, other: Variant) -> float:
    """Returns the device's estimate where both have one, else the time measured here, else 1."""
    if estimated(variant, device, "latency_ms") and estimated(other, device, "latency_ms"):
        return estimated(variant, device, "latency_ms")
    timed = variant.host and variant.host.latency_ms and other.host and other.host.latency_ms
    return variant.host.latency_ms.p50 if timed else 1.0


def _distance(variant: Variant, constraints: Constraints, device: str, cautious: bool) -> float:
    limits = constraints.set_limits()
    return sum(
        miss / max(limits[name], 1e-3)
        for name, miss in check(variant, constraints, device, cautious)[1].items()
    )


def _relaxed(constraints: Constraints, name: str, value: float | None) -> Constraints:
    return constraints.model_copy(update={name: value})


def _binding(done, baseline, winner, constraints, goal, device, cautious) -> str | None:
    """Returns the limit whose removal would change the winner, the one that costs most of the goal's score
    first.
    """
    gains = {}
    for name in constraints.set_limits():
        without = ranked(done, baseline, _relaxed(constraints, name, None), goal, device, cautious)
        if without and without[0].id != winner.id:
            gains[name] = score(without[0], baseline, goal, device) - score(winner, baseline, goal, device)
    return max(gains, key=gains.get) if gains else None


def _flips(done, baseline, winner, constraints, goal, device, cautious) -> list[Flip]:
    """Returns, for each limit, the least relaxation and the least tightening that make another variant
    win.
    """
    flips = []
    for name, limit in constraints.set_limits().items():
        label, unit, value_of = LIMITS[name]
        values = sorted({v for v in (value_of(d, device, cautious) for d in done) if v is not None})
        for value in [v for v in values if v > limit]:
            new = ranked(done, baseline, _relaxed(constraints, name, value), goal, device, cautious)
            if new and new[0].id != winner.id:
                shown = math.ceil(value * 1000) / 1000
                flips.append(
                    Flip(
                        constraint=name,
                        to=shown,
                        winner=new[0].id,
                        text=f"Allow a {label} of {shown:g} {unit} and {new[0].id} wins.",
                    )
                )
                break
        own = value_of(winner, device, cautious)
        if own is not None and own > 0:
            shown = math.floor(own * 1000) / 1000 - (0.001 if math.floor(own * 1000) / 1000 >= own else 0)
            new = ranked(done, baseline, _relaxed(constraints, name, max(shown, 0.0)), goal, device, cautious)
            if shown >= 0 and (not new or new[0].id != winner.id):
                flips.append(
                    Flip(
                        constraint=name,
                        to=shown,
                        winner=new[0].id if new else "",
                        text=(
                            f"Limit the {label} to {shown:g} {unit} and"
                            f" {new[0].id + ' wins' if new else 'nothing is left'}."
                        ),
                    )
                )
    return flips


def _near_reasons(nearest: Variant, constraints: Constraints, device: str, cautious: bool) -> list[str]:
    limits = constraints.set_limits()
    missed = [
        f"its {LIMITS[name][0]} is {limits[name] + miss:.3g} {LIMITS[name][1]}, {miss:.3g} {LIMITS[name][1]}"
        f" over your limit of {limits[name]:g}"
        for name, miss in check(nearest, constraints, device, cautious)[1].items()
    ]
    return ["No variant meets all your limits.", f"{nearest.id} comes nearest: " + "; ".join(missed) + "."]


def times(ratio: float, more: str, less: str) -> str:
    """Returns a ratio in words: "4.1 times smaller", "1.2 times larger", "no faster" within 3 %."""
    if 0.97 < ratio < 1.03:
        return f"no {more}"
    return f"{ratio:.3g} times {more}" if ratio >= 1 else f"{1 / ratio:.3g} times {less}"


def _reasons(winner, baseline, done, constraints, goal, device, cautious, binding) -> list[str]:
    name = device_name(device)
    reasons = []
    if winner.id == "baseline":
        reasons.append("Your model as it is: no variant does better for this goal within your limits.")
    else:
        reasons.append(
            f"{times(baseline.size_bytes / winner.size_bytes, 'smaller', 'larger').capitalize()} than your"
            f" model{_speed_words(winner, baseline, name, device)}{_accuracy_words(winner)}."
        )
    reasons.append(
        {
            Goal.balanced: (
                "Goal balanced: size and time count alike, and one percentage point of validation accuracy as"
                " much as a factor of two in both."
            ),
            Goal.size: "Goal size: it is the smallest file that keeps your limits.",
            Goal.speed: f"Goal speed: it has the lowest latency on {name} of all that keep your limits.",
            Goal.accuracy: "Goal accuracy: it lost least on validation images of all that keep your limits.",
        }[goal]
    )
    if constraints.max_accuracy_drop_pp is None and goal != Goal.accuracy:
        reasons.append(
            f"You set no limit on accuracy, so what loses more than {FREE_DROP_PP:g} pp on validation images"
            " is ranked last."
        )
    if winner.capability and winner.capability.answer != "supported":
        reasons.append(winner.capability.why)
    if binding:
        reasons.append(f"Your limit on {LIMITS[binding][0]} decides: without it another variant would win.")
    breaking = sum(bool(check(v, constraints, device, cautious)[1]) for v in done)
    if breaking:
        reasons.append(f"{breaking} of {len(done)} variants break a limit.")
    return reasons


def _speed_words(winner: Variant, baseline: Variant, name: str, device: str) -> str:
    if winner.host and winner.host.latency_ms and baseline.host and baseline.host.latency_ms:
        measured = (
            f" and {times(baseline.host.latency_ms.p50 / winner.host.latency_ms.p50, 'faster', 'slower')}"
            " measured on this machine"
        )
    else:
        measured = ""
    here, there = estimated(winner, device, "latency_ms"), estimated(baseline, device, "latency_ms")
    return measured + (
        f", {times(there / here, 'faster', 'slower')} predicted on {name}" if here and there else ""
    )


def _accuracy_words(winner: Variant) -> str:
    if winner.accuracy is None:
        return "; accuracy is not known, because the run had no labelled images"
    drop = winner.accuracy_drop_pp
    words = (
        "the same accuracy" if drop == 0 else f"{abs(drop):.2f} pp {'less' if drop > 0 else 'more'} accuracy"
    )
    doubt = (
        ""
        if drop == 0 or winner.p_value is None or winner.p_value < SIGNIFICANT
        else f", a difference that {winner.test_images:,} test images cannot tell from zero"
    )
    return f", at {words}{doubt}"
