"""What each layer of a variant costs on a device, and what it was in the baseline."""

import pandas as pd
import streamlit as st

from deploy.report import layers as page
from engine.errors import EdgewiseError
from engine.judge.layers import LayerRow
from engine.run.layers import layers_of
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from estimator.devices import all_devices
from pages.parts import charts
from pages.parts import wording as w


@st.fragment
def show(run: Run, variant: Variant, home: Workspace) -> None:
    """Draws the cost by layer on the device that is chosen, with a table and a page to carry away."""
    if variant.status != "done":
        st.caption("This variant has no file.")
        return
    own = run.experiment.device
    devices = [own, *sorted(set(all_devices()) - {own}, key=w.device)]
    device = st.selectbox("Device", devices, format_func=w.device, key="layers_on", width=280)
    try:
        rows = layers_of(run, variant, device, home)
    except EdgewiseError as error:
        st.caption(w.plain(error))
        return
    if any(row.ms for row in rows):
        figure, alt, left = charts.costs(rows)
        st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="costs")
        st.caption(
            "A layer that is fused into its neighbour costs nothing of its own and is not drawn."
            + (f" {left} cheaper layers are only in the table." if left else "")
        )
    else:
        st.caption(f"Nothing is predicted for {w.device(device)}.")
    with st.expander("Every layer as a table"):
        st.dataframe(table(rows), hide_index=True, height="content", placeholder=w.NONE, alt="Layers.")
    st.download_button(
        "Layer map as HTML",
        lambda: page.html(run, variant.id, device, rows),
        f"layers-{run.id}.html",
        "text/html",
        icon=":material/layers:",
        on_click="ignore",
        help="One file that opens offline: the chart and the table.",
    )


def table(rows: list[LayerRow]) -> pd.DataFrame:
    """Returns a row a layer, figures as numbers so that the table sorts them."""
    return pd.DataFrame(
        [
            {
                "Layer": w.cell(row.name) if row.op else "an inference by itself",
                "Operator": w.cell(row.op),
                "Size (kB)": row.bytes / 1e3,
                "kB before": _over(row.bytes_before, 1e3),
                "MACs (million)": row.macs / 1e6,
                "MACs before": _over(row.macs_before, 1e6),
                "Predicted (ms)": row.ms,
                "ms before": row.ms_before,
                "Bound by": row.bound,
                "Bits": row.bits,
                "Bits before": row.bits_before,
                "Channels": row.channels,
                "Channels before": row.channels_before,
                **{
                    f"Lost {words} (pp)": row.sensitivity.get(change)
                    for change, (words, *_) in charts.CHANGES.items()
                },
            }
            for row in rows
        ]
    )


def _over(count: int | None, factor: float) -> float | None:
    return None if count is None else count / factor
