"""A slider for each limit that is a line in a chart: it moves the line as the limit's field does, by mouse,
touch or arrow keys.
"""

from collections.abc import Iterable

import streamlit as st

from engine.judge.limits import LIMITS
from engine.vocabulary import Constraints, Experiment, Variant
from pages.parts import limits
from pages.parts.charts import Axis

NO_LIMIT = ""
# preferred numbers, so that each step is about a tenth and reads well
E24 = (10, 11, 12, 13, 15, 16, 18, 20, 22, 24, 27, 30, 33, 36, 39, 43, 47, 51, 56, 62, 68, 75, 82, 91)
STEPS = [float(f"{e * 10.0**power:.2g}") for power in range(-6, 7) for e in E24]
FINEST = 0.01  # percentage points


def show(axes: Iterable[Axis], judged: list[Variant], asked: Experiment, tried: Constraints) -> None:
    """Shows the sliders of the axes' limits: of each the first, and what else is set."""
    names = [
        name
        for axis in axes
        for name in axis.limits
        if name == axis.limits[0] or getattr(tried, name) is not None
    ]
    if not names:
        return
    with st.container(horizontal=True, gap="medium"):
        for name in names:
            _slider(name, places(name, judged, asked), getattr(tried, name))


def _slider(name: str, found: list[float], now: float | None) -> None:
    limit, key = LIMITS[name], f"line_{name}"
    # by their words: two places that read alike can't be told apart by the slider
    options: list[float | str] = sorted({f"{at:g}": at for at in (*found, now) if at is not None}.values())
    if not options:  # no variant has such a figure
        return
    options.insert(0 if limit.is_least else len(options), NO_LIMIT)
    value = NO_LIMIT if now is None else now
    if st.session_state.get(key) != value:  # the field was typed in
        st.session_state[key] = value
    st.select_slider(
        f"Move the line: {limits.FIELDS[name][0].lower()}{limits.FIELDS[name][1:]}",
        options,
        format_func=lambda at: "no limit" if at == NO_LIMIT else limit.with_unit(f"{at:g}"),
        key=key,
        on_change=_take,
        args=(name,),
        width=300,
    )


def _take(name: str) -> None:
    """Writes where the line was moved to into the limit's field."""
    at = st.session_state[f"line_{name}"]
    limits.type_in(name, None if at == NO_LIMIT else at)


def places(name: str, judged: list[Variant], asked: Experiment) -> list[float]:
    """Returns where a limit's line can be put, rising: from where no variant keeps it to where all do."""
    limit = LIMITS[name]
    known = [
        value
        for v in judged
        if v.status == "done"
        and v.usable
        and (value := limit.value(v, asked.device, asked.cautious)) is not None
    ]
    if not known:
        return []
    low, high = min(known), max(known)
    if not limit.unit:  # a share
        return [at / 200 for at in range(max(int(200 * low) - 1, 0), 201)]
    first = next((i for i, at in enumerate(STEPS) if at >= (low if low > 0 else FINEST)), len(STEPS) - 1)
    last = next((i for i, at in enumerate(STEPS) if at >= high), first)
    if low <= 0:
        return [0.0, *STEPS[first : last + 1]]
    return STEPS[max(first - 1, 0) : last + 1]
