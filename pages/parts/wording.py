"""Sentences of the pages; figures and what makes foreign text harmless come from `engine.judge`."""

import time
from collections.abc import Iterable

from engine import frameworks
from engine.formats.inspect import titles
from engine.judge import words
from engine.judge.asked import measured_ms
from engine.judge.figures import NBSP as NBSP
from engine.judge.figures import NONE as NONE
from engine.judge.figures import duration as duration
from engine.judge.figures import estimate as estimate
from engine.judge.figures import figure as figure
from engine.judge.figures import interval as interval
from engine.judge.figures import ms as ms
from engine.judge.figures import number as number
from engine.judge.figures import percent as percent
from engine.judge.figures import points as points
from engine.judge.figures import size as size
from engine.judge.figures import times as times
from engine.judge.figures import with_unit as with_unit
from engine.judge.limits import LIMITS
from engine.judge.limits import in_words as limits
from engine.judge.markup import cell as cell
from engine.judge.markup import code as code
from engine.judge.markup import plain as plain
from engine.vocabulary import Estimate, Experiment, Variant
from estimator.confidence import in_words as confidence_in_words

FORMATS = titles()
FRAMEWORKS = {name: entry.title for name, entry in frameworks.FRAMEWORKS.items()}

# ---- figures -----------------------------------------------------------------------------------------------


def about(seconds: float) -> str:
    """Returns an expected time, no finer than it can be known."""
    step = 1 if seconds < 10 else 5 if seconds < 60 else 10 if seconds < 600 else 60
    rounded = max(step, step * round(seconds / step))
    return f"about {rounded}{NBSP}s" if rounded < 60 else f"about {duration(rounded)}"


def when(moment: float) -> str:
    """Returns how long ago a moment was."""
    seconds = max(0.0, time.time() - moment)
    if seconds < 60:
        return "just now"
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return ""


def day(moment: float) -> str:
    """Returns the day of a moment: 5 December."""
    return f"{time.localtime(moment).tm_mday}{NBSP}{time.strftime('%B', time.localtime(moment))}"


def confidence(found: Estimate) -> str:
    """Returns an estimate's confidence in words."""
    if found.confidence is None:
        return "confidence unknown"
    return f"{confidence_in_words(found.confidence)} confidence"


# ---- sentences ---------------------------------------------------------------------------------------------


def device(name: str) -> str:
    """Returns a device's name for people."""
    return words.device_name(name)


def subject(experiment: Experiment, found: Estimate | None = None) -> str:
    """Returns the caption under a run's title: on what, for which device, to which end."""
    where = device(experiment.device) + (f", {runs_on(found)}" if found else "")
    return " · ".join(
        [
            plain(experiment.model.name),
            where,
            f"goal {experiment.goal.value}",
            plain(limits(experiment.constraints)),
        ]
    )


def runs_on(found: Estimate) -> str:
    """Returns what an estimate is for: "ONNX Runtime, 4 threads"."""
    return f"{runtime(found.runtime)}, {found.threads} thread{'s' if found.threads > 1 else ''}"


def runtime(name: str) -> str:
    """Returns a runtime's name for people."""
    return words.RUNTIMES.get(name, plain(name))


def misses(variant: Variant) -> str:
    """Returns by how much a variant misses its limits, or an empty string."""
    found = words.misses(variant)
    for limit in LIMITS.values():
        found = found.replace(f" {limit.unit}", f"{NBSP}{limit.unit}") if limit.unit else found
    return found


def verdict(variant: Variant, baseline: Variant, where: str) -> str:
    """Returns what a variant is worth beside the baseline, in one sentence of markdown."""
    if variant.id == baseline.id:
        return "**Your own model, unchanged,** is the best choice: nothing that meets every limit beats it."
    before, after, basis = _latencies(variant, baseline, where)
    faster = _gain(before, after, "faster", "slower")
    gains = [
        word for word in (_gain(baseline.size_bytes, variant.size_bytes, "smaller", "larger"), faster) if word
    ]
    gain = (
        f"**{' and '.join(gains).capitalize()}**{f' ({basis})' if faster else ''} than your model"
        if gains
        else "About as large and fast as your model"
    )
    return f"{gain}, {words.accuracy(variant).replace(' pp ', f'{NBSP}pp ')}."


def _latencies(variant: Variant, baseline: Variant, where: str) -> tuple[float | None, float | None, str]:
    """Compares like with like: both estimates for the device, else both measurements on this machine."""
    ours, theirs = variant.estimates.get(where), baseline.estimates.get(where)
    if ours and theirs and ours.latency_ms and theirs.latency_ms:
        return theirs.latency_ms, ours.latency_ms, "as predicted"
    return measured(baseline), measured(variant), "measured here"


def measured(variant: Variant) -> float | None:
    """Returns the median latency measured on this machine."""
    return measured_ms(variant)


def _gain(before: float | None, after: float | None, better: str, worse: str) -> str:
    if not before or not after:
        return ""
    ratio = before / after
    if 0.95 < ratio < 1.05:
        return ""
    return f"{times(ratio)} {better}" if ratio > 1 else f"{times(1 / ratio)} {worse}"


def listing(words: Iterable[str]) -> str:
    """Returns "a, b and c"."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
