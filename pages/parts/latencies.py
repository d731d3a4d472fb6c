"""The predicted latency of every variant on every device, as one table."""

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from engine.judge.limits import ROUNDING
from engine.vocabulary import Estimate, Variant
from pages.parts import charts
from pages.parts import wording as w

CELL = 190  # pixels that "✗ 0.0609 (0.00935–0.397)" takes


def show(judged: list[Variant], own: str, most: float | None) -> None:
    """Shows variants by devices, the run's own first; `most`: the limit on latency, in ms."""
    done = [v for v in judged if v.status == "done"]
    devices = [name for name in _in_order(done, own) if any(_known(v, name) for v in done)]
    if not devices:
        st.caption("Nothing is predicted for any device.")
        return
    st.dataframe(
        table(done, devices, most),
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


def table(done: list[Variant], devices: list[str], most: float | None) -> Styler:
    """Returns a row a variant and a column a device: numbers, which sort, that read as words."""
    frame = pd.DataFrame(
        {"Variant": [w.cell(v.id) for v in done]}
        | {
            w.device(name): [(e.latency_ms if (e := _known(v, name)) else None) for v in done]
            for name in devices
        }
    )
    words = {
        w.device(name): {e.latency_ms: _words(e, most) for v in done if (e := _known(v, name))}
        for name in devices
    }
    red = charts.COLOURS[charts.mode()]["red"]
    return frame.style.format({name: found.get for name, found in words.items()}, na_rep=w.NONE).map(
        lambda value: f"color: {red}" if _breaks(value, most) else "", subset=list(words)
    )


def _words(found: Estimate, most: float | None) -> str:
    sign = "" if most is None else "✗ " if _breaks(found.latency_ms, most) else "✓ "
    return f"{sign}{w.estimate(found).replace(f'{w.NBSP}ms', '')}"


def _breaks(value: float | None, most: float | None) -> bool:
    return most is not None and value is not None and value - most > ROUNDING


def _known(variant: Variant, device: str) -> Estimate | None:
    found = variant.estimates.get(device)
    return found if found is not None and found.latency_ms is not None else None


def _in_order(done: list[Variant], own: str) -> list[str]:
    return [own, *sorted({name for v in done for name in v.estimates} - {own}, key=w.device)]
