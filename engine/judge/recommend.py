"""Which variant to take, and why: pure functions over variants and limits.

Limits are checked on what is reported (see `limits`). Among the variants that keep them, the ranking uses the
validation accuracy, so that the reported test accuracy is not what was selected on.
"""

import math

from engine.judge import words
from engine.judge.limits import LIMITS, Limit, check, estimated, runs_there
from engine.vocabulary import Constraints, Flip, Goal, Recommendation, Variant

PP_WORTH = math.log(
    2
)  # in the balanced score one percentage point weighs as much as a factor of two in size and time
FREE_DROP_PP = (
    2.0  # without a limit on accuracy, what loses more than this on validation images is ranked last
)


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
                reasons=[
                    f"Nothing that was made runs on {words.device_name(device)}: {baseline.capability.why}"
                ],
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

    def winner_at(name: str, value: float) -> str:
        new = ranked(done, baseline, _relaxed(constraints, name, value), goal, device, cautious)
        return new[0].id if new else ""

    flips = []
    for name, asked in constraints.set_limits().items():
        limit = LIMITS[name]
        what = f"{limit.label}{limit.where}"
        values = {v for v in (limit.value(d, device, cautious) for d in done) if v is not None}
        for value in sorted(
            (v for v in values if limit.miss(v, asked) > 0), key=lambda v: limit.miss(v, asked)
        ):
            shown = _rounded(limit, value, looser=True)
            if (other := winner_at(name, value)) not in ("", winner.id):
                text = f"Allow a {what} of {limit.with_unit(f'{shown:g}')} and {other} wins."
                flips.append(Flip(constraint=name, to=shown, winner=other, text=text))
                break
        own = limit.value(winner, device, cautious)
        if own is None or (own <= 0 and not limit.is_least):
            continue
        shown = _rounded(limit, own, looser=False)
        if shown >= 0 and (other := winner_at(name, shown)) != winner.id:
            outcome = f"{other} wins" if other else "nothing is left"
            ask = f"Ask for a {what} of" if limit.is_least else f"Limit the {what} to"
            text = f"{ask} {limit.with_unit(f'{shown:g}')} and {outcome}."
            flips.append(Flip(constraint=name, to=shown, winner=other, text=text))
    return flips


def _rounded(limit: Limit, value: float, looser: bool) -> float:
    """Returns a limit of three decimals that `value` just keeps, or (not looser) just breaks."""
    if looser != limit.is_least:  # upwards
        up = math.ceil(value * 1000)
        return (up if looser or up > value * 1000 else up + 1) / 1000
    down = math.floor(value * 1000)
    return (down if looser or down < value * 1000 else down - 1) / 1000


def _near_reasons(nearest: Variant, constraints: Constraints, device: str, cautious: bool) -> list[str]:
    limits, missed = constraints.set_limits(), []
    for name, miss in check(nearest, constraints, device, cautious)[1].items():
        limit = LIMITS[name]
        has = limits[name] - miss if limit.is_least else limits[name] + miss
        side = "under" if limit.is_least else "over"
        missed.append(
            f"its {limit.label}{limit.where} is {limit.with_unit(f'{has:.3g}')},"
            f" {limit.with_unit(f'{miss:.3g}')} {side} your limit of {limits[name]:g}"
        )
    return ["No variant meets all your limits.", f"{nearest.id} comes nearest: " + "; ".join(missed) + "."]


def times(ratio: float, more: str, less: str) -> str:
    """Returns a ratio in words: "4.1 times smaller", "1.2 times larger", "no faster" within 3 %."""
    if 0.97 < ratio < 1.03:
        return f"no {more}"
    return f"{ratio:.3g} times {more}" if ratio >= 1 else f"{1 / ratio:.3g} times {less}"


def _reasons(winner, baseline, done, constraints, goal, device, cautious, binding) -> list[str]:
    name = words.device_name(device)
    reasons = []
    if winner.id == "baseline":
        reasons.append("Your model as it is: no variant does better for this goal within your limits.")
    else:
        reasons.append(
            f"{times(baseline.size_bytes / winner.size_bytes, 'smaller', 'larger').capitalize()} than your"
            f" model{_speed_words(winner, baseline, name, device)}, {words.accuracy(winner)}."
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
        what = f"{LIMITS[binding].label}{LIMITS[binding].where}"
        reasons.append(f"Your limit on {what} decides: without it another variant would win.")
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
