"""Configure: device, goal, limits and techniques; then start the run."""

import streamlit as st

from engine import ask
from engine.errors import EdgewiseError
from engine.run import jobs
from engine.vocabulary import EVEN
from estimator.devices import load_device
from pages.parts import devices, facts, limits, plan, session, visitor
from pages.parts import wording as w

GOALS = {"balanced": "Balanced", "size": "Small file", "speed": "Speed", "accuracy": "Accuracy"}

home = session.workspace()
st.title("Configure the run")
model, dataset = session.chosen_model(home), session.chosen_dataset(home)
if model is None or dataset is None:
    session.stop_with_link("There is no model to fit yet.", "pages/upload.py", "Choose a model")
st.caption(
    " · ".join(
        [
            w.code(model.name),
            w.size(model.size_bytes),
            f"{w.number(model.parameters)} parameters",
            f"data set {w.plain(facts.title(dataset))}",
        ]
    )
)

# ---- device and goal ---------------------------------------------------------------------------------------

st.header("Device")
device = devices.choose()
devices.say_ended(load_device(device))
runtime = devices.choose_runtime(model, device)

st.header("Goal")
goal = st.segmented_control(
    "Among the variants that meet every limit, prefer",
    list(GOALS),
    default="balanced",
    required=True,
    format_func=GOALS.get,
    key="goal",
    bind="query-params",
)

weights = EVEN
if goal == "balanced":
    with st.expander("What counts how much"), st.container(horizontal=True, gap="medium"):
        weights = limits.weights(EVEN, "goal")

# ---- limits ------------------------------------------------------------------------------------------------

st.header("Limits")
st.caption(
    "Leave a field empty for no limit. Latency, memory and energy are those on the"
    f" {w.device(device)}, as predicted."
)
constraints, wrong = limits.fields(model, device, runtime)

# ---- techniques --------------------------------------------------------------------------------------------

st.header("Techniques")
with st.container(horizontal=True, vertical_alignment="bottom"):
    budget = (
        st.number_input(
            "Time budget (minutes)",
            1,
            24 * 60,
            5,
            key="budget_minutes",
            persist_state="session",
            width=190,
            help="Techniques that train share it; the others take what they need.",
        )
        * 60
    )
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        0,
        key="seed",
        persist_state="session",
        width=190,
        help="The same seed on the same machine gives the same variants.",
    )
chosen = plan.checklist(model, dataset, device, runtime, budget)
for sentence in plan.too_few(chosen, dataset, home):
    st.warning(w.plain(sentence), icon=":material/warning:")

# ---- start -------------------------------------------------------------------------------------------------

if wrong:
    st.error(wrong, icon=":material/error:")
elif not chosen:
    st.error("No technique is chosen: choose at least one.", icon=":material/error:")
expected = plan.total_seconds(chosen, budget, model, runtime)
# the key keeps a click that comes while the label's time is still changing
if st.button(
    f"Start the run, {w.about(expected)}",
    type="primary",
    key="start",
    icon=":material/play_circle:",
    disabled=bool(wrong) or not chosen,
):
    try:
        experiment = ask.build(
            model,
            dataset=dataset,
            device=device,
            runtime=runtime,
            goal=goal,
            weights=weights.model_dump(),
            constraints=constraints.model_dump(),
            techniques=chosen,
            seed=int(seed),
            time_budget_s=int(budget),
        )
        run = jobs.start(experiment, home, visitor.who())
    except EdgewiseError as error:
        session.show_error(error)
        st.stop()
    session.remember_run(run)
    st.switch_page("pages/run.py", query_params={"run": run})
