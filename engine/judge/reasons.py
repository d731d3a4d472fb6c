"""Why a variant is recommended, in sentences."""

from engine.judge import promise, words
from engine.judge.asked import FREE_DROP_PP, Asked, is_off_unit, measured_ms, size
from engine.judge.limits import estimated, limit_of
from engine.vocabulary import EVEN, Goal, Variant, Weights


def why(
    winner: Variant, done: list[Variant], baseline: Variant, asked: Asked, binding: str | None
) -> list[str]:
    """Returns why a variant is recommended, the most important reason first."""
    device = words.device_name(asked.device)
    reasons = []
    if winner.id == "baseline":
        reasons.append("Your model as it is: no variant does better for this goal within your limits.")
    else:
        reasons.append(
            f"{times(size(baseline) / size(winner), 'smaller', 'larger').capitalize()} than your"
            f" model{_speed_words(winner, baseline, asked.device)}, {words.accuracy(winner)}."
        )
    reasons.append(
        {
            Goal.balanced: _balance(asked.weights),
            Goal.size: "Goal size: it is the smallest file that keeps your limits.",
            Goal.speed: f"Goal speed: it has the lowest latency on {device} of all that keep your limits.",
            Goal.accuracy: "Goal accuracy: it lost least on validation images of all that keep your limits.",
        }[asked.goal]
    )
    if asked.constraints.max_accuracy_drop_pp is None and asked.goal != Goal.accuracy:
        reasons.append(
            f"You set no limit on accuracy, so what loses more than {FREE_DROP_PP:g} pp on validation images"
            " is ranked last."
        )
    if winner.capability and winner.capability.answer != "supported":
        reasons.append(winner.capability.why)
    if winner.id != "baseline":
        reasons += promise.sentences(winner, asked.constraints)
    reasons += _less_sure(winner, done, baseline, asked)
    reasons += _off_unit(winner, done, baseline, asked)
    if binding:
        limit = limit_of(binding, asked.constraints)
        what = f"{limit.label}{limit.where}"
        reasons.append(f"Your limit on {what} decides: without it another variant would win.")
    breaking = sum(bool(asked.check(v)[1]) for v in done)
    if breaking:
        verb = "breaks" if breaking == 1 else "break"
        reasons.append(f"{breaking} of {len(done)} variants {verb} a limit.")
    return reasons


def _balance(weights: Weights) -> str:
    if weights == EVEN:
        return (
            "Goal balanced: size and time count alike, and one percentage point of validation accuracy as"
            " much as a factor of two in both."
        )
    return (
        f"Goal balanced, with your weights: size counts {weights.size:g}, speed {weights.speed:g} and"
        f" accuracy {weights.accuracy:g} times as usual."
    )


def _less_sure(winner: Variant, done: list[Variant], baseline: Variant, asked: Asked) -> list[str]:
    """Returns a sentence where a variant that does better for the goal ranks behind as it is less sure."""
    if not promise.is_sure(winner, asked.constraints):
        return []
    better = [
        v
        for v in done
        if asked.check(v)[0] == "yes"
        and not promise.is_sure(v, asked.constraints)
        and asked.score(v, baseline) > asked.score(winner, baseline)
    ]
    if not better:
        return []
    best = max(better, key=lambda v: (asked.score(v, baseline), v.id))
    return [f"{best.id} does better for this goal and ranks behind: it keeps a limit only as measured."]


def _off_unit(winner: Variant, done: list[Variant], baseline: Variant, asked: Asked) -> list[str]:
    """Returns a sentence where a variant that does better for the goal ranks behind as it leaves the device's
    accelerator idle.
    """
    if is_off_unit(winner):
        return []
    behind = [
        v
        for v in done
        if is_off_unit(v)
        and asked.check(v)[0] == "yes"
        and asked.score(v, baseline) > asked.score(winner, baseline)
    ]
    if not behind:
        return []
    best = max(behind, key=lambda v: (asked.score(v, baseline), v.id))
    what = f"the accelerator of {words.device_name(asked.device)}"
    return [f"{best.id} does better for this goal and ranks behind: it leaves {what} idle."]


def why_nearest(nearest: Variant, asked: Asked) -> list[str]:
    """Returns why nothing is recommended, and by how much the nearest misses."""
    limits, missed = asked.constraints.set_limits(), []
    for name, miss in asked.check(nearest)[1].items():
        limit = limit_of(name, asked.constraints)
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


def _speed_words(winner: Variant, baseline: Variant, device: str) -> str:
    ours, theirs = measured_ms(winner), measured_ms(baseline)
    found = (
        f" and {times(theirs / ours, 'faster', 'slower')} measured on this machine" if ours and theirs else ""
    )
    here, there = estimated(winner, device, "latency_ms"), estimated(baseline, device, "latency_ms")
    if here and there:
        found += f", {times(there / here, 'faster', 'slower')} predicted on {words.device_name(device)}"
    return found
