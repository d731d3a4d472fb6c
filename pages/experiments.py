"""Experiments: every run of this workspace, to open, go on with, name, carry away or delete."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.host import is_public
from engine.judge.words import holds_words
from engine.run import jobs
from engine.visitors import limits
from pages.parts import beside, run_menu, runs, session, visitor
from pages.parts import wording as w

home = session.workspace()


st.title("Experiments")
kept = f"{limits().kept_days} days, then it is deleted" if is_public() else "until you delete it"
st.caption(f"{'Your runs' if is_public() else 'Every run'}, newest first. A run stays {kept}.")

if refused := st.session_state.pop("refused", None):
    session.show_error(refused)
rows = session.own_runs(home.runs())
run_menu.show_import(home)
if not is_public():  # there, nobody may see what others deleted
    run_menu.show_deleted(home)
if not rows:
    session.stop_with_link("There is no run yet.", "pages/home.py", "Try the bundled example")

if len(rows) > 1:
    opened = st.expander(
        "Compare two runs", icon=":material/compare_arrows:", key="beside", on_change="rerun"
    )
    if opened.open:
        with opened:
            beside.show(rows, home)

shown = st.text_input(
    "Find", type="search", placeholder="Name, tag, model, device or winner", live=True, key="find"
)
if shown:
    rows = [
        row
        for row in rows
        if holds_words(
            [
                row["title"],
                row["tags"],
                row["model"],
                w.device(row["device"]),
                row["winner"] or "",
                row["state"],
            ],
            shown,
        )
    ]
    if not rows:
        st.caption("No run matches.")

tags = sorted({tag for row in rows for tag in row["tags"].split(", ") if tag})
for row in rows[:100]:
    with runs.show_row(row):
        may_go_on = row["state"] in ("failed", "cancelled") and visitor.may_change(row["id"], home)
        if may_go_on and st.button(
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
        run_menu.show(row, home, tags)
if len(rows) > 100:
    st.caption(f"{len(rows) - 100} older runs are not shown: search for them.")
