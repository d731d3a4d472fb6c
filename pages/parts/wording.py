"""Figures and sentences as people read them: three significant figures, a non-breaking space before the unit.

Names of classes, files and models are data that someone else chose: `code`, `plain` and `cell` make them
harmless
where they are shown.
"""

import math
import re
import time
from collections.abc import Iterable

from engine import frameworks
from engine.errors import one_line
from engine.formats.inspect import titles
from engine.judge import words
from engine.judge.asked import measured_ms
from engine.judge.limits import LIMITS
from engine.vocabulary import Constraints, Estimate, Experiment, Variant
from estimator.confidence import in_words

NBSP = "\u00a0"
NONE = "–"
FORMULA = ("=", "+", "-", "@", "|", "%")
FORMATS = titles()
RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "litert": "LiteRT",
    "tensorrt": "TensorRT",
    "edgetpu": "Edge TPU",
    "ncnn": "ncnn",
}
FRAMEWORKS = {name: entry.title for name, entry in frameworks.FRAMEWORKS.items()}

# ---- figures -----------------------------------------------------------------------------------------------


def figure(value: float | None, digits: int = 3) -> str:
    """Returns a number with that many significant figures, never in powers of ten, thousands set apart."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))  # 9.996 has become 10.0
    return f"{rounded:,.{max(0, min(decimals, 6))}f}"


def with_unit(value: float | None, unit: str) -> str:
    """Returns a figure with its unit behind a space that does not break."""
    return NONE if value is None else f"{figure(value)}{NBSP}{unit}"


def size(count: float | None) -> str:
    """Returns bytes as B, kB or MB of 10**6."""
    if count is None:
        return NONE
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor * 0.9995:
            return with_unit(count / factor, unit)
    return f"{count:.0f}{NBSP}B"


def number(count: float | None) -> str:
    """Returns a count: 359, 24,200, 6.72 million."""
    if count is None:
        return NONE
    for unit, factor in (("billion", 1e9), ("million", 1e6)):
        if count >= factor:
            return with_unit(count / factor, unit)
    return f"{count:,.0f}"


def ms(value: float | None) -> str:
    """Returns milliseconds."""
    return with_unit(value, "ms")


def percent(fraction: float | None, low: float | None = None, high: float | None = None) -> str:
    """Returns a fraction in percent, with one decimal where its interval is wider than a point, else two."""
    if fraction is None:
        return NONE
    decimals = 1 if low is None or high is None or high - low > 0.01 else 2
    return f"{100 * fraction:.{decimals}f}{NBSP}%"


def interval(low: float | None, high: float | None, factor: float = 1, decimals: int | None = None) -> str:
    """Returns the two ends of an interval, or an empty string where there is none."""
    if low is None or high is None:
        return ""
    ends = [
        f"{factor * end:.{decimals}f}" if decimals is not None else figure(factor * end)
        for end in (low, high)
    ]
    return "–".join(ends)


def points(drop: float | None) -> str:
    """Returns percentage points."""
    return NONE if drop is None else f"{drop:.2f}{NBSP}pp"


def times(ratio: float) -> str:
    """Returns a ratio: "105 times", "9.8 times"."""
    return f"{figure(ratio, 2 if ratio < 10 else 3)}{NBSP}times"


def duration(seconds: float | None) -> str:
    """Returns seconds as people say them: "0.4 s", "12 s", "3 min 20 s", "1 h 5 min"."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}{NBSP}min" + (f" {rest}{NBSP}s" if rest and minutes < 10 else "")
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}{NBSP}h" + (f" {minutes}{NBSP}min" if minutes else "")


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


def estimate(found: Estimate | None) -> str:
    """Returns a prediction as "3.10 ms (2.60–3.80)", or says that there is none."""
    if found is None:
        return "no estimate yet"
    if found.latency_ms is None:
        return "no prediction"
    ends = interval(found.low_ms, found.high_ms)
    return ms(found.latency_ms) + (f" ({ends})" if ends else "")


def confidence(found: Estimate) -> str:
    """Returns an estimate's confidence in words."""
    if found.confidence is None:
        return "confidence unknown"
    return f"{in_words(found.confidence)} confidence"


# ---- data that someone else chose --------------------------------------------------------------------------


def plain(text: object) -> str:
    """Returns text for markdown in which nothing is markup: every sign is escaped, line breaks become
    spaces.
    """
    # the thin joiner keeps `:name:` from becoming an icon, which Streamlit replaces after escapes are
    # resolved
    return re.sub(r"([\\`*_{}\[\]()#+\-!|<>~$^&.=])", r"\\\1", one_line(text)).replace(":", ":\u2060")


def code(text: object) -> str:
    """Returns text as a markdown code span that no backtick in it can end."""
    flat = one_line(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def cell(value: object) -> object:
    """Returns a table's cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if isinstance(value, str) and (value.lstrip()[:1] in FORMULA or value[:1].isspace()):
        return "'" + value
    return value


# ---- sentences ---------------------------------------------------------------------------------------------


def device(name: str) -> str:
    """Returns a device's name for people."""
    return words.device_name(name)


def limits(constraints: Constraints) -> str:
    """Returns the limits that are set: "accuracy drop ≤ 0.5 pp, latency ≤ 5 ms"."""
    words = [
        f"{LIMITS[name].label} {'≥' if LIMITS[name].is_least else '≤'} {_with_unit(name, f'{value:g}')}"
        for name, value in constraints.set_limits().items()
    ]
    return ", ".join(words) or "no limits"


def _with_unit(name: str, figure: str) -> str:
    return LIMITS[name].with_unit(figure).replace(" ", NBSP)


def subject(experiment: Experiment, found: Estimate | None = None) -> str:
    """Returns the caption under a run's title: on what, for which device, to which end."""
    where = device(experiment.device) + (f", {runs_on(found)}" if found else "")
    return " · ".join(
        [plain(experiment.model.name), where, f"goal {experiment.goal.value}", limits(experiment.constraints)]
    )


def runs_on(found: Estimate) -> str:
    """Returns what an estimate is for: "ONNX Runtime, 4 threads"."""
    return (
        f"{RUNTIMES.get(found.runtime, plain(found.runtime))}, {found.threads}"
        f" thread{'s' if found.threads > 1 else ''}"
    )


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
