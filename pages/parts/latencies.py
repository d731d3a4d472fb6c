"""The predicted latency of every variant on every device, as one table."""

import math

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from engine.judge.limits import LIMITS, ROUNDING
from engine.vocabulary import Estimate, Variant
from pages.parts import charts
from pages.parts import wording as w

KEEPS, BREAKS = "✓ ", "✗ "
LATENCY = LIMITS["max_latency_ms"]
CELL = 190  # pixels that "✗ 0.0609 (0.00935–0.397)" takes


def show(judged: list[Variant], own: str, most: float | None, cautious: bool) -> None:
    """Shows variants by devices, the run's own first; `most`: the limit on latency, in ms. `cautious`: it
    holds for the upper end of the interval.
    """
    done = [v for v in judged if v.status == "done"]
    devices = [name for name in _in_order(done, own) if any(_known(v, name) for v in done)]
    if not devices:
        st.caption("Nothing is predicted for any device.")
        return
    st.dataframe(
        table(done, devices, most, cautious),
        hide_index=True,
        height="content",
        placeholder=w.NONE,
        alt=f"Predicted latency of {len(done)} variants on {len(devices)} devices.",
        column_config={"Variant": st.column_config.TextColumn(pinned=True, width=170)}
        | {w.device(name): st.column_config.NumberColumn(width=CELL) for name in devices},
    )
    marks = (
        f"✓ keeps and ✗ breaks {most:g}{w.NBSP}ms; your limit is about {w.device(own)}."
        if most is not None
        else "Set a limit on latency and each figure says whether it keeps it."
    )
    st.caption(
        f"Milliseconds an image as predicted, with the interval that holds 90 %; {w.NONE} where nothing is"
        f" predicted. A click on a device's name sorts by it. {marks}"
    )


def table(done: list[Variant], devices: list[str], most: float | None, cautious: bool = False) -> Styler:
    """Returns a row a variant and a column a device: numbers, which sort, that read as words."""
    columns: dict[str, list[float | None]] = {}
    words: dict[str, dict[float, str]] = {w.device(name): {} for name in devices}
    for name in devices:
        texts = words[w.device(name)]
        column = columns[w.device(name)] = []
        for variant in done:
            found = _known(variant, name)
            ms = found.latency_ms if found else None
            if found is not None and ms is not None:
                while ms in texts:  # the styler sees the number alone: equal ones differ in their last bit
                    ms = math.nextafter(ms, math.inf)
                texts[ms] = _sign(variant, name, most, cautious) + w.estimate(found).replace(
                    f"{w.NBSP}ms", ""
                )
            column.append(ms)
    red = charts.COLOURS[charts.mode()]["red"]
    frame = pd.DataFrame({"Variant": [w.cell(v.id) for v in done]} | columns)
    styled = frame.style.format({name: found.get for name, found in words.items()}, na_rep=w.NONE)
    for name, texts in words.items():
        styled = styled.map(
            lambda ms, texts=texts: f"color: {red}" if texts.get(ms, "").startswith(BREAKS) else "",
            subset=[name],
        )
    return styled


def _sign(variant: Variant, device: str, most: float | None, cautious: bool) -> str:
    """Returns whether the limit would be kept there, as a run that is judged as cautiously would have it."""
    if most is None:
        return ""
    value = LATENCY.value(variant, device, cautious)
    return BREAKS if value is not None and LATENCY.miss(value, most) > ROUNDING else KEEPS


def _known(variant: Variant, device: str) -> Estimate | None:
    found = variant.estimates.get(device)
    return found if found is not None and found.latency_ms is not None else None


def _in_order(done: list[Variant], own: str) -> list[str]:
    return [own, *sorted({name for v in done for name in v.estimates} - {own}, key=w.device)]
