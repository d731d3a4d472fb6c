"""Where a variant's time goes on this machine, operator by operator."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.judge.operators import KINDS, OperatorTime, why
from engine.run.operators import NO_PROFILER, operators_of, time_operators
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from pages.parts import session
from pages.parts import wording as w


@st.fragment
def show(run: Run, variant: Variant, home: Workspace) -> None:
    """Offers to measure the baseline and the variant under the runtime's profiler; shows what is known."""
    if variant.status != "done" or not variant.artifacts:
        st.caption("This variant has no file.")
        return
    if not variant.artifacts[0].opened.endswith(".onnx"):
        st.caption(NO_PROFILER)
        return
    known = operators_of(run.id, home)
    if variant.id not in known:
        st.caption("Not measured yet: it shows why a file is, or is not, faster here.")
        if st.button("Measure each operator", icon=":material/timer:"):
            with st.spinner("Measuring behind the wall…"):
                try:
                    time_operators(run.id, home, [variant.id])
                except EdgewiseError as error:
                    session.show_error(error)
                    return
            st.rerun()
        return
    if variant.id != "baseline" and (sentence := why(known[variant.id], known.get("baseline", []))):
        st.markdown(w.plain(sentence))
    st.dataframe(table(known[variant.id]), hide_index=True, height="content", alt="Time by operator.")
    st.caption(
        "Medians of 60 inferences with ONNX Runtime's profiler, which itself takes some microseconds a node:"
        " shares say more than sums. A device's kernels are others."
    )


def table(rows: list[OperatorTime]) -> list[dict[str, object]]:
    """Returns a row an operator, the dearest first."""
    total = sum(row.ms for row in rows) or 1.0
    return [
        {
            "Operator": w.cell(row.name),
            "Kind": KINDS[row.kind],
            "Nodes": row.calls,
            "Time (ms)": round(row.ms, 4),
            "Share (%)": round(100 * row.ms / total, 1),
        }
        for row in rows
    ]
