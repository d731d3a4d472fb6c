"""The table of every variant: which columns, which rows, and which one is shown in detail."""

import streamlit as st

from engine.errors import shortened
from engine.run.on_board import OnBoard
from engine.vocabulary import Variant
from pages.parts import tables
from pages.parts import wording as w

FIRST = "Variant"
USUAL = (
    *(
        "Limits",
        "Accuracy (%)",
        "95 % interval",
        "Drop (pp)",
        "Size (kB)",
        "Zipped (kB)",
        "Measured (ms)",
        tables.ON_BOARD,
    ),
    *("Estimated on device", "MACs (million)", "Reason"),
)


@st.fragment
def show(found: list[Variant], device: str, board: OnBoard) -> None:
    """Shows every variant as a row; a chosen row becomes the one shown in detail."""
    frame = tables.variants(found, device, board)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input(
            "Search",
            placeholder="a technique, “failed”, “missed” …",
            live=True,
            key="search",
            width=260,
        )
        with st.popover("Columns", icon=":material/view_column:"):
            shown = st.pills(
                "Columns",
                [name for name in frame.columns if name != FIRST],
                selection_mode="multi",
                default=[name for name in USUAL if name in frame.columns],
                key="columns",
                label_visibility="collapsed",
            )
        st.download_button(
            "Download as CSV",
            tables.as_csv(found, device).encode("utf-8-sig"),
            "variants.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    rows = tables.matching(frame, wanted)
    ids = [found[i].id for i in rows.index]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        key="rows",
        hide_index=True,
        on_select=lambda: _take_row(ids),
        selection_mode="single-row",
        height="content",
        placeholder=w.NONE,
        column_order=[FIRST, *(name for name in frame.columns if name in shown)],
        alt=f"Table of {len(rows)} variants with their accuracy, size and latency.",
        column_config={
            FIRST: st.column_config.TextColumn(pinned=True, width=215),
            "Accuracy (%)": number(format="%.2f", help="On test images that chose nothing."),
            "Drop (pp)": number(format="%.2f", help="Percentage points lost against your model."),
            "Size (kB)": number(format="localized", help="Bytes of the file as it is deployed."),
            "Zipped (kB)": number(
                format="localized", help="The same file compressed: pruned weights show here."
            ),
            "Measured (ms)": number(format="%.3f", help="Median on this machine, all variants interleaved."),
            tables.ON_BOARD: number(
                f"On {shortened(board.name, 30)} (ms)", format="%.3f", help="Median on your own device."
            ),
            "MACs (million)": number(format="%.2f", help="Multiply-accumulates for one image."),
            "Worst recall (%)": number(format="%.1f", help="Of the class that it is worst at."),
            "Confidence off by (%)": number(format="%.2f", help="Expected calibration error."),
            "Lost on damaged (pp)": number(
                format="%.1f", help="On dark, blurred, noisy or turned pictures of middle severity."
            ),
            "Memory (MB)": number(format="%.1f", help="Predicted for the device."),
            "Energy (mJ)": number(
                format="%.2f",
                help="For one image: by your device's own sensor, else predicted.",
            ),
            "Parameters": number(format="localized"),
            "Zeros (%)": number(format="%.1f", help="Share of weights that are zero."),
            "Reason": st.column_config.TextColumn(width="large"),
        },
    )
    if rows.empty:
        st.caption("No variant matches.")
    if st.session_state.pop("row_opened", False):
        st.rerun()  # its details are outside this fragment


def _take_row(ids: list[str]) -> None:
    rows = st.session_state["rows"]["selection"]["rows"]
    if rows and rows[0] < len(ids):
        st.session_state["variant"] = ids[rows[0]]
        st.session_state["row_opened"] = True
