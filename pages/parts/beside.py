"""Two runs beside each other."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.judge.differences import side_by_side
from engine.store.workspace import Workspace
from pages.parts import session
from pages.parts import wording as w

MOST = 1000  # to choose from: a browser builds the whole list


def show(rows: list[dict], home: Workspace) -> None:
    """Lets two of the index's rows be chosen, and shows what was asked of them and what came out."""
    if len(rows) > MOST:
        st.caption(f"The newest {MOST:,} runs can be chosen.")
    names = {
        row["id"]: f"{row['model']} · {w.device(row['device'])} · {row['goal']} · {w.when(row['created'])}"
        for row in rows[:MOST]
    }
    ids = list(names)
    first, second = st.columns(2)
    one = first.selectbox("First run", ids, 0, key="beside_first", format_func=names.__getitem__)
    other = second.selectbox("Second run", ids, 1, key="beside_second", format_func=names.__getitem__)
    only = st.toggle("Differences only", value=True, key="beside_only")
    try:
        found = side_by_side(home.run(one), home.run(other))
    except EdgewiseError as error:
        session.show_error(error)
        return
    shown = [row for row in found if row.differs or not only]
    if not shown:
        st.caption("The two runs are alike in all that is compared.")
        return
    cells = [
        {"": row.what, "First run": w.cell(row.first), "Second run": w.cell(row.second)} for row in shown
    ]
    st.dataframe(cells, hide_index=True, height="content", alt="What the two runs differ in.")
