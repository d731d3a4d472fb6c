"""Experiments: every run of this workspace, to open, go on with or delete."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.host import is_public
from engine.run import jobs
from pages.parts import beside, runs, session
from pages.parts import wording as w

home = session.workspace()


def delete(run: str) -> None:
    """Removes a run; the sentence of a refusal is shown on the next pass."""
    try:
        home.delete(run)
        session.forget_run(run)
    except EdgewiseError as error:
        st.session_state["refused"] = error


@st.dialog("Delete this run?")
def confirm(row: dict) -> None:
    """Names what goes before it goes."""
    st.markdown(
        f"The run on **{w.plain(row['model'])}** for {w.device(row['device'])}, {w.when(row['created'])},"
        " goes with all its variants, files and figures. The uploaded model stays."
    )
    with st.container(horizontal=True):
        if st.button(
            "Delete it", type="primary", icon=":material/delete:", on_click=delete, args=(row["id"],)
        ):
            st.rerun()
        if st.button("Keep it"):
            st.rerun()


st.title("Experiments")
st.caption("Every run, newest first. A run stays until you delete it.")

if refused := st.session_state.pop("refused", None):
    session.show_error(refused)
rows = session.own_runs(home.runs())
if not rows:
    where = "in this visit" if is_public() else "yet"
    session.stop_with_link(f"There is no run {where}.", "pages/home.py", "Try the bundled example")

if len(rows) > 1:
    with st.expander("Compare two runs", icon=":material/compare_arrows:"):
        beside.show(rows, home)

shown = st.text_input("Find", type="search", placeholder="Model, device or winner", live=True, key="find")
if shown:
    rows = [
        row
        for row in rows
        if shown.lower()
        in f"{row['model']} {w.device(row['device'])} {row['winner'] or ''} {row['state']}".lower()
    ]
    if not rows:
        st.caption("No run matches.")

for row in rows[:100]:
    with runs.show_row(row):
        if row["state"] in ("failed", "cancelled") and st.button(
            "Go on",
            key=f"resume-{row['id']}",
            icon=":material/resume:",
            type="tertiary",
            help="Starts again at the first unfinished technique.",
        ):
            try:
                jobs.resume(row["id"], home)
            except EdgewiseError as error:
                session.show_error(error)
                st.stop()
            session.remember_run(row["id"])
            st.switch_page("pages/run.py", query_params={"run": row["id"]})
        if st.button(
            "Delete",
            key=f"delete-{row['id']}",
            icon=":material/delete:",
            type="tertiary",
            disabled=row["state"] in ("running",),
            help="Asks first.",
        ):
            confirm(row)
if len(rows) > 100:
    st.caption(f"{len(rows) - 100} older runs are not shown: search for them.")
