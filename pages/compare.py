"""Compare: the recommendation, the trade-off with limits to try, every variant, and one in detail."""

import streamlit as st

from engine.judge import recommend
from engine.run import robustness
from engine.run.on_board import on_board
from pages.parts import (
    all_variants,
    changed,
    charts,
    layers,
    operators,
    own_device,
    reports,
    robust,
    session,
    trade_off,
    try_it,
    variants,
)
from pages.parts import wording as w

home = session.workspace()
st.title("Compare variants")
run = session.open_run(home)
board = on_board(run.id, home)
device, asked = run.experiment.device, run.experiment
found = robustness.with_robustness(variants.in_order(run.variants), robustness.robustness_of(run.id, home))
done = [v for v in found if v.status == "done"]
baseline = next((v for v in done if v.id == "baseline"), done[0] if done else None)
st.caption(w.subject(asked, baseline.estimates.get(device) if baseline else None))

if not done:
    session.stop_with_link(
        "No variant is finished yet: the run says how far it is.", "pages/run.py", "Watch the run"
    )
if run.state in ("queued", "running"):
    st.info("The run is still at work: more variants will come.", icon=":material/progress_activity:")
    st.page_link("pages/run.py", label="Watch the run", query_params={"run": run.id})

chosen = run.recommendation or recommend.recommend(
    found, asked.constraints, asked.goal, device, asked.cautious, asked.weights
)

own_device.warn(board)
own_device.follow(board, run.id, home)

# ---- the recommendation ------------------------------------------------------------------------------------

variants.show_recommendation(chosen, run, baseline)
if run.recommendation:
    reports.offer(run, home)

# ---- the trade-off -----------------------------------------------------------------------------------------

st.header("Trade-off")
trade_off.show(found, asked, chosen, board.name)

# ---- every variant -----------------------------------------------------------------------------------------

st.header("All variants")
all_variants.show(found, device, board)
if board.found:
    st.caption(w.plain(board.how()))

# ---- one variant, and what the layers bear -----------------------------------------------------------------

st.header("One variant in detail")
ids = [v.id for v in found]
st.session_state.setdefault("variant", chosen.winner or chosen.nearest or baseline.id)
if st.session_state["variant"] not in ids:
    st.session_state["variant"] = baseline.id
picked = st.selectbox("Variant", ids, key="variant", help="Or choose a row of the table.")
variants.show_details(found[ids.index(picked)], baseline, asked.model.classes, device)

st.header("What changed its answer")
changed.show(run, found[ids.index(picked)], home)

st.header("Try it")
try_it.show(run, found[ids.index(picked)], home)

st.header("On damaged pictures")
robust.show(run, picked, home)

st.header("What each layer costs")
layers.show(run, found[ids.index(picked)], home)

st.header("Where the time goes on this machine")
operators.show(run, found[ids.index(picked)], home)

st.header("What each layer bears")
if run.sensitivity:
    figure, alt = charts.sensitivity(run.sensitivity)
    st.caption(
        "Accuracy lost on validation images when only this layer is changed: a layer far to the right is best"
        " left alone."
    )
    st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt)
else:
    st.caption(
        "Not measured: no technique of this run asked for it, or it ran out of time or memory, which the"
        " run's log says."
    )
