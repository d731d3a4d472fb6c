"""Figures as people read them: three significant figures, a non-breaking space before the unit."""

import math

from engine.vocabulary import Estimate

NBSP = "\u00a0"
NONE = "–"


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


def estimate(found: Estimate | None) -> str:
    """Returns a prediction as "3.10 ms (2.60–3.80)", or says that there is none."""
    if found is None:
        return "no estimate yet"
    if found.latency_ms is None:
        return "no prediction"
    ends = interval(found.low_ms, found.high_ms)
    return ms(found.latency_ms) + (f" ({ends})" if ends else "")
