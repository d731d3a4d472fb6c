"""Train a starter model on the chosen data set: asked for, watched and cancelled. The training goes on
without this page.
"""

import streamlit as st

from engine import starter, visitors
from engine.datasets import DATASETS
from engine.errors import EdgewiseError
from engine.frameworks import MADE_HERE
from engine.store.workspace import Workspace
from engine.vocabulary import parse
from pages.parts import session, visitor
from pages.parts import wording as w

SIZES = {"small": "Small", "medium": "Medium"}
# a training that has ended must not choose its model again after a refresh
LEAVE_URL = (
    "<script>{const url = new URL(location.href); url.searchParams.delete('starter'); "
    "history.replaceState(history.state, '', url);}</script>"
)


def section(dataset: str, home: Workspace) -> None:
    """Shows the form, or the training that the URL names; a model that is done becomes the chosen one."""
    found = st.session_state.get("starter") or st.query_params.get("starter")
    with st.expander(
        "Train a starter model on this data",
        expanded=bool(found) or dataset not in DATASETS,
        icon=":material/model_training:",
    ):
        if found and _watched(found, home):
            return
        _form(dataset, home)


def _form(dataset: str, home: Workspace) -> None:
    st.caption("No model yet? One of ours is fitted to your pictures here. It never sees the test part.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        size = st.segmented_control(
            "Size", list(SIZES), default="small", required=True, format_func=SIZES.get, key="starter_size"
        )
        framework = st.segmented_control(
            "Framework",
            list(MADE_HERE),
            default=next(iter(MADE_HERE)),
            required=True,
            format_func=MADE_HERE.get,
            key="starter_framework",
        )
        minutes = st.number_input("Minutes", 1, 60, 2, key="starter_minutes", width=130)
    mirror = st.checkbox(
        "A picture and its mirror image belong to the same class",
        value=dataset not in ("digits", "mnist"),
        key=f"starter_mirror_{dataset}",
        help="Mirrored copies are then trained on too. Uncheck it for letters, digits or arrows.",
    )
    if st.button("Train a starter model", icon=":material/play_circle:", key="starter_start"):
        try:
            asked = parse(
                starter.Asked,
                {
                    "dataset": dataset,
                    "size": size,
                    "framework": framework,
                    "seconds": 60 * minutes,
                    "mirror": mirror,
                },
            )
            visitors.may_work(visitor.who())
            st.session_state["starter"] = starter.start(asked, home.home)
        except EdgewiseError as error:
            session.show_error(error)
            return
        st.rerun()


def _watched(found: str, home: Workspace) -> bool:
    """Shows a training that is at work and returns True; of one that has ended only says how, and returns
    False.
    """
    try:
        state = starter.status(found, home.home)
    except EdgewiseError:
        st.session_state.pop("starter", None)
        return False
    if state["state"] == "running":
        st.session_state["starter"] = found
        session.name_in_url(starter=found)
        _live(found, home)
        return True
    model = starter.trained(state)
    if model is not None and st.session_state.get("starter_taken") != found:
        st.session_state["starter_taken"] = found
        session.choose(model=model, dataset=state["asked"]["dataset"])
        st.rerun()
    st.html(LEAVE_URL, unsafe_allow_javascript=True)
    if model is not None:
        st.success("The starter model is trained, and chosen.", icon=":material/check_circle:")
    elif state["state"] == "cancelled":
        st.warning("The training was cancelled.", icon=":material/cancel:")
    else:
        st.error(f"The training failed: {w.plain(state['reason'])}", icon=":material/error:")
    return False


@st.fragment(run_every=1)
def _live(found: str, home: Workspace) -> None:
    state = starter.status(found, home.home)
    if state["state"] != "running":
        st.rerun()
    fraction, left = state.get("fraction") or 0.0, state.get("remaining_s")
    words = [w.plain(state.get("text") or "Starting")] + ([f"{w.about(left)} left"] if left else [])
    asked = state["asked"]
    st.markdown(f"**{SIZES[asked['size']]}, {w.FRAMEWORKS[asked['framework']]}** · " + " · ".join(words))
    st.progress(min(1.0, fraction))
    if st.button("Cancel the training", icon=":material/stop_circle:", key="starter_cancel"):
        starter.cancel(found, home.home)
        st.rerun()
    st.caption("You may close this page: the training goes on, and its link brings you back.")
