"""Run: every technique at work, live. The run goes on without this page."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.run import jobs
from engine.run.view import view_of
from engine.store.workspace import ENDED
from pages.parts import runs, session
from pages.parts import wording as w

home = session.workspace()
st.title("Watch the run")
run = session.open_run(home)
st.caption(w.subject(run.experiment))


@st.dialog("Cancel this run?")
def confirm() -> None:
    """Asks once; what is finished is kept."""
    st.write("What is at work stops within two seconds. Finished variants are kept, and you can go on later.")
    with st.container(horizontal=True):
        if st.button(
            "Cancel the run",
            type="primary",
            icon=":material/stop_circle:",
            on_click=jobs.cancel,
            args=(run.id, home),
        ):
            st.rerun()
        if st.button("Let it run"):
            st.rerun()


def go_on() -> None:
    """Queues the run again; the sentence of a refusal is shown on the next pass."""
    try:
        jobs.resume(run.id, home)
    except EdgewiseError as error:
        st.session_state["refused"] = error


@st.fragment(run_every=None if run.state in ENDED else 1)
def watch() -> None:
    """Shows the run as the workspace has it. When it ends, the whole page is drawn once more, and polling
    stops.
    """
    if run.state not in ENDED:
        jobs.tick(home)
    view = view_of(run.id, home)
    if view.state in ENDED and run.state not in ENDED:
        st.rerun()
    runs.show_progress(view)
    baseline = next((v for line in view.techniques for v in line.variants if v.id == "baseline"), None)
    with st.container(border=True, gap="xsmall"):
        for line in view.techniques:
            runs.show_line(line, baseline, view.state in ENDED)
    with st.expander("Log", icon=":material/notes:", key="log"):
        # the newest lines come last, as in a terminal; a long log would slow every poll
        st.code(
            "\n".join(view.log[-200:]) or "Nothing is logged yet.", language=None, wrap_lines=True, height=260
        )


if refused := st.session_state.pop("refused", None):
    session.show_error(refused)
finished = sum(v.status == "done" for v in run.variants)
with st.container(horizontal=True, vertical_alignment="center"):
    if run.state == "done":
        st.success(
            f"The run is done: {finished} variants were made and measured.", icon=":material/check_circle:"
        )
    elif run.state == "failed":
        st.error(
            f"The run failed: {w.plain(run.reason) or 'it gave no reason; the log says more.'}",
            icon=":material/error:",
        )
    elif run.state == "cancelled":
        st.warning(f"The run was cancelled, {finished} finished variants are kept.", icon=":material/cancel:")
    if run.state not in ENDED and st.button("Cancel", icon=":material/stop_circle:"):
        confirm()
    if run.state in ("failed", "cancelled"):
        st.button(
            "Go on",
            icon=":material/resume:",
            on_click=go_on,
            help="Starts at the first unfinished technique.",
        )
    if (
        run.state in ENDED
        and finished
        and st.button("Compare the variants", type="primary", icon=":material/scatter_plot:")
    ):
        st.switch_page("pages/compare.py", query_params={"run": run.id})
watch()
if run.state not in ENDED:
    st.caption("You may close this page: the run goes on, and its link brings you back.")
