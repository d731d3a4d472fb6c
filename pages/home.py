"""Home: what this is, the way in, and the last runs."""

import streamlit as st

from engine.frameworks import MADE_HERE
from engine.host import forgets, is_public
from engine.visitors import limits
from models.catalog import CATALOG
from pages.parts import example, runs, session, visitor
from pages.parts import wording as w

EXAMPLES = {
    framework: f"digits/{framework}/small"
    for framework in MADE_HERE
    if f"digits/{framework}/small" in CATALOG
}

home = session.workspace()
st.title("Fit your model to a small device")
st.write(
    "Bring a trained image classifier. Edgewise makes it smaller and faster in every way it knows, measures"
    " each result, and recommends one that keeps your limits."
)

with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    if len(EXAMPLES) > 1:
        framework = st.segmented_control(
            "Example",
            list(EXAMPLES),
            default=next(iter(EXAMPLES)),
            required=True,
            format_func=MADE_HERE.get,
            label_visibility="collapsed",
        )
    else:
        framework = next(iter(EXAMPLES), None)
    if framework and st.button("Try the bundled example", type="primary", icon=":material/play_arrow:"):
        session.choose_shipped(EXAMPLES[framework])
        st.switch_page("pages/configure.py", query_params={"model": EXAMPLES[framework], "dataset": "digits"})
    if st.button("Upload my model", icon=":material/upload_file:"):
        st.switch_page("pages/upload.py")
if framework:
    shipped = CATALOG[EXAMPLES[framework]]
    st.caption(
        f"The example reads handwritten digits: {w.number(shipped.parameters)} parameters, "
        f"{w.percent(shipped.test_accuracy, 0, 1)} accuracy. A run takes a few minutes and needs no network."
    )

example.show(home)

st.header("Last runs")
rows = session.own_runs(home.runs())[:5]
if not rows:
    st.caption("None yet. Your runs will stand here, and stay after you close the page.")
for row in rows:
    runs.show_row(row)
if rows:
    st.page_link("pages/experiments.py", label="All experiments", icon=":material/history:")
if forgets(home.home):
    st.warning(
        "This host forgets runs and uploads when it restarts or goes to sleep: download the package, and"
        " export the run on the experiments page, before you leave.",
        icon=":material/hourglass_bottom:",
    )
if is_public():
    st.caption(
        "Strangers share this host: you see only your own runs, by this browser's cookie or your login. They"
        f" are kept for {limits().kept_days} days: keep a run's link, and export what should stay."
    )
visitor.show_login()
