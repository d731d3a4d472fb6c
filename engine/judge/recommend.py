"""Which variant to take, and why: pure functions over variants and limits.

Limits are checked on what is reported (see `limits`). Among the variants that keep them, the ranking uses the
validation accuracy, so that the reported test accuracy is not what was selected on.
"""

import math
from dataclasses import replace

from engine.judge import reasons, words
from engine.judge.asked import Asked
from engine.judge.limits import Limit, limit_of, runs_there
from engine.vocabulary import EVEN, Constraints, Flip, Goal, Recommendation, Variant, Weights

PICKS = {"quality": Goal.accuracy, "balanced": Goal.balanced, "compact": Goal.size}


def recommend(
    variants: list[Variant],
    constraints: Constraints,
    goal: Goal,
    device: str,
    cautious: bool = False,
    weights: Weights = EVEN,
) -> Recommendation:
    """Ranks what meets every limit and says why; where nothing does, names the nearest and by how much it
    misses. weights: of the balanced goal.
    """
    done = [v for v in variants if v.status == "done"]
    if not done:
        why = "No variant was finished, so there is nothing to recommend."
        return Recommendation(winner=None, ranking=[], reasons=[why])
    asked = Asked(constraints, goal, device, cautious, weights)
    baseline = next((v for v in done if v.id == "baseline"), done[0])
    ranking = asked.ranked(done, baseline)
    if not ranking:
        return _nothing(done, baseline, asked)
    winner = ranking[0]
    binding = _binding(done, baseline, winner, asked)
    picks = {
        name: next((v.id for v in replace(asked, goal=each).ranked(done, baseline)), None)
        for name, each in PICKS.items()
    }
    if baseline.validation_accuracy is None:
        picks["quality"] = None  # without labelled images nothing is known to be the most accurate
    return Recommendation(
        winner=winner.id,
        ranking=[v.id for v in ranking],
        binding=binding,
        flips=_flips(done, baseline, winner, asked),
        picks=picks,
        reasons=reasons.why(winner, done, baseline, asked, binding),
    )


def _nothing(done: list[Variant], baseline: Variant, asked: Asked) -> Recommendation:
    """Returns what can be said where no variant is admissible."""
    able = [v for v in done if v.usable and runs_there(v, asked.device)]
    nearest = min(able, key=lambda v: (_distance(v, asked), v.id)) if able else None
    if nearest:
        why = reasons.why_nearest(nearest, asked)
    else:
        because = baseline.capability.why if baseline.capability else ""
        why = [f"Nothing that was made runs on {words.device_name(asked.device)}: {because}"]
    nearest_id = nearest.id if nearest else None
    return Recommendation(
        winner=None, ranking=[], nearest=nearest_id, picks=dict.fromkeys(PICKS), reasons=why
    )


def _distance(variant: Variant, asked: Asked) -> float:
    limits = asked.constraints.set_limits()
    return sum(miss / max(limits[name], 1e-3) for name, miss in asked.check(variant)[1].items())


def _binding(done: list[Variant], baseline: Variant, winner: Variant, asked: Asked) -> str | None:
    """Returns the limit whose removal would change the winner, the one that costs most of the goal's score
    first.
    """
    gains: dict[str, float] = {}
    for name in asked.constraints.set_limits():
        without = asked.with_limit(name, None).ranked(done, baseline)
        if without and without[0].id != winner.id:
            gains[name] = asked.score(without[0], baseline) - asked.score(winner, baseline)
    return max(gains, key=lambda name: gains[name]) if gains else None


def _flips(done: list[Variant], baseline: Variant, winner: Variant, asked: Asked) -> list[Flip]:
    """Returns, for each limit, the least relaxation and the least tightening that make another variant
    win.
    """

    def winner_at(name: str, value: float) -> str:
        new = asked.with_limit(name, value).ranked(done, baseline)
        return new[0].id if new else ""

    flips = []
    for name, most in asked.constraints.set_limits().items():
        limit = limit_of(name, asked.constraints)
        what = f"{limit.label}{limit.where}"
        values = {v for v in (limit.value(d, asked.device, asked.cautious) for d in done) if v is not None}
        for value in sorted(
            (v for v in values if limit.miss(v, most) > 0), key=lambda v: limit.miss(v, most)
        ):
            shown = _rounded(limit, value, looser=True)
            if (other := winner_at(name, shown)) not in ("", winner.id):
                text = f"Allow a {what} of {limit.with_unit(f'{shown:g}')} and {other} wins."
                flips.append(Flip(constraint=name, to=shown, winner=other, text=text))
                break
        own = limit.value(winner, asked.device, asked.cautious)
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
