"""Run: every technique at work, live. The run goes on without this page."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.run import jobs
from engine.run.view import RunView, TechniqueView, view_of
from engine.store.workspace import ENDED
from engine.vocabulary import Variant
from pages.parts import runs, session, visitor
from pages.parts import wording as w

SETTLED = ("done", "failed", "skipped")
LOG_S, LOG_LINES = 2, 200  # a log that is open is read this often; a longer one would slow every reading

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


def settled(view: RunView) -> list[TechniqueView]:
    """Returns the lines that change no more."""
    return [line for line in view.techniques if view.state in ENDED or line.status in SETTLED]


@st.fragment(run_every=None if run.state in ENDED else 1)
def watch(drawn: list[str]) -> None:
    """Shows what is at work and what waits. When a line settles or the run ends, the whole page is drawn once
    more: so a poll draws only what moves.

    drawn: ids of the lines that the page shows as settled.
    """
    if run.state not in ENDED:
        jobs.tick(home)
    view = view_of(run.id, home)
    if view.state != run.state or [line.id for line in settled(view)] != drawn:
        st.rerun()
    runs.show_progress(view)
    if moving := [line for line in view.techniques if line.id not in drawn]:
        with st.container(border=True, gap="xsmall"):
            for line in moving:
                runs.show_line(line, baseline_of(view), is_ended=False)


@st.fragment(run_every=None if run.state in ENDED else LOG_S)
def show_log() -> None:
    """Shows the log where it is opened, the newest lines last, as in a terminal."""
    opened = st.expander("Log", icon=":material/notes:", key="log", on_change="rerun")
    if opened.open:
        lines = view_of(run.id, home).log[-LOG_LINES:]
        opened.code("\n".join(lines) or "Nothing is logged yet.", language=None, wrap_lines=True, height=260)


def baseline_of(view: RunView) -> Variant | None:
    """Returns the run's baseline, which sizes are compared with."""
    return next((v for line in view.techniques for v in line.variants if v.id == "baseline"), None)


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
    own = visitor.may_change(run.id, home)
    if own and run.state not in ENDED and st.button("Cancel", icon=":material/stop_circle:"):
        confirm()
    if own and run.state in ("failed", "cancelled"):
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
now = view_of(run.id, home)
done = settled(now)
watch([line.id for line in done])
if done:
    with st.container(border=True, gap="xsmall"):
        for line in done:
            runs.show_line(line, baseline_of(now), now.state in ENDED)
show_log()
if run.state not in ENDED:
    st.caption("You may close this page: the run goes on, and its link brings you back.")
