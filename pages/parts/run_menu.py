"""What can be done with a run in the list: name it, repeat it, carry it away, delete it, take it back."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from engine import visitors
from engine.errors import BadInput, EdgewiseError
from engine.host import is_public
from engine.judge.limits import LIMITS
from engine.run import travel
from engine.store import deleted
from engine.store.files import sentence_on_full_disk
from engine.store.workspace import ENDED, Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment
from pages.parts import session, visitor
from pages.parts import wording as w


def show(row: dict, home: Workspace, tags: list[str]) -> None:
    """Shows the menu of one run; `tags`: all that there are, to choose from."""
    run, ended = row["id"], row["state"] in ENDED
    with st.popover("More", icon=":material/more_horiz:", key=f"more-{run}"):
        if st.button("Name and tags", key=f"name-{run}", icon=":material/label:", type="tertiary"):
            _name(row, home, tags)
        if st.button(
            "Repeat",
            key=f"repeat-{run}",
            icon=":material/replay:",
            type="tertiary",
            help="Opens the configuration of this run, to change something and start again.",
        ):
            try_now(lambda: repeat(home.experiment(run)))
        st.download_button(
            "Export",
            lambda: packed(run, home),
            f"{run}{travel.SUFFIX}",
            "application/zip",
            key=f"export-{run}",
            icon=":material/download:",
            type="tertiary",
            disabled=not ended,
            on_click="ignore",
            help="The run with all its files as one, for another Edgewise."
            if ended
            else "Once it has ended.",
        )
        if st.button(
            "Delete",
            key=f"delete-{run}",
            icon=":material/delete:",
            type="tertiary",
            disabled=row["state"] == "running" or not visitor.may_change(run, home),
            help="Asks first.",
        ):
            _confirm(row, home)


def packed(run: str, home: Workspace) -> bytes:
    """Returns a run as one file."""
    with sentence_on_full_disk(), tempfile.TemporaryDirectory() as folder:
        return travel.pack(run, home, Path(folder, "run.zip")).read_bytes()


def repeat(asked: Experiment) -> None:
    """Fills the configure page with what a run was asked to do, and opens it; raises BadInput where its model
    or its data set is not there any more.
    """
    for path in (asked.model.path, asked.dataset if asked.dataset and "/" in asked.dataset else None):
        if path and not Path(path).exists():
            raise BadInput("The model or the data set of this run is not here (any more): upload it again.")
    session.choose(asked.model, asked.dataset)
    known = {f"technique_{name}_{asked.device}": name in asked.techniques for name in TECHNIQUES}
    limits: dict[str, object] = {f"limit_{n}": _typed(getattr(asked.constraints, n)) for n in LIMITS}
    if (index := asked.constraints.recall_index) is not None:
        limits[f"limit_recall_class_{len(asked.model.classes)}"] = index
    more: dict[str, object] = {"budget_minutes": math.ceil(asked.time_budget_s / 60), "seed": asked.seed}
    more |= {f"runtime_{asked.device}": asked.runtime} if asked.runtime else {}
    more |= {f"goal_weight_{name}": value for name, value in asked.weights.model_dump().items()}
    st.session_state.update(known | limits | more)
    st.switch_page("pages/configure.py", query_params={"target": asked.device, "goal": asked.goal.value})


def _typed(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"


@st.dialog("Name and tags")
def _name(row: dict, home: Workspace, known: list[str]) -> None:
    label = home.label_of(row["id"])
    st.text_input("Name", label.title, max_chars=80, placeholder=row["model"], key="label_title")
    st.multiselect(
        "Tags",
        sorted({*known, *label.tags}),
        label.tags,
        accept_new_options=True,
        max_selections=8,
        placeholder="Choose or type",
        key="label_tags",
    )
    if st.button("Save", type="primary", on_click=_save, args=(row["id"], home)):
        st.rerun()


def _save(run: str, home: Workspace) -> None:
    typed = st.session_state
    _try(lambda: home.label(run, typed["label_title"], typed["label_tags"]))


@st.dialog("Delete this run?")
def _confirm(row: dict, home: Workspace) -> None:
    """Names what goes before it goes."""
    st.markdown(
        f"The run on **{w.plain(row['model'])}** for {w.device(row['device'])}, {w.when(row['created'])},"
        " goes with all its variants, files and figures."
        + ("" if is_public() else " It can be taken back for a day; after that the next run takes its space.")
        + " The uploaded model stays."
    )
    with st.container(horizontal=True):
        if st.button(
            "Delete it",
            type="primary",
            icon=":material/delete:",
            on_click=lambda: _try(lambda: home.delete(row["id"]), row["id"]),
        ):
            st.rerun()
        if st.button("Keep it"):
            st.rerun()


def show_deleted(home: Workspace) -> None:
    """Shows what was deleted in the last day, to be taken back or to go for good."""
    found = deleted.listed(home.home)
    if not found:
        return
    with st.expander(f"Deleted in the last day ({len(found)})", icon=":material/delete_history:"):
        for run in found:
            about = deleted.experiment_of(run, home.home)
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{w.plain(about or run)}**", width="stretch")
                st.button(
                    "Take back",
                    key=f"back-{run}",
                    icon=":material/undo:",
                    on_click=lambda run=run: _try(lambda: home.undelete(run)),
                )
        st.button(
            "Delete all of these for good",
            icon=":material/delete_forever:",
            on_click=deleted.empty,
            args=(home.home,),
            type="tertiary",
        )


def show_import(home: Workspace) -> None:
    """Takes in a run that another Edgewise exported."""
    with st.expander("Import a run", icon=":material/upload_file:"):
        st.file_uploader("A file that “Export” wrote", "zip", key="imported", max_upload_size=500)
        given = st.session_state.get("imported")
        if given is None or st.session_state.get("imported_id") == given.file_id:
            return
        st.session_state["imported_id"] = given.file_id
        try_now(lambda: _take_in(given.getvalue(), home))


def _take_in(data: bytes, home: Workspace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.zip")
        path.write_bytes(data)
        visitors.may_work(visitor.who())
        run = travel.unpack(path, home)
        home.own(run, visitor.who())
    session.remember_run(run)
    st.switch_page("pages/compare.py", query_params={"run": run})


def _try(do: Callable[[], object], gone: str = "") -> None:
    """Does something with a run, in a callback; the sentence of a refusal is shown on the pass after it."""
    try:
        do()
        if gone:
            session.forget_run(gone)
    except EdgewiseError as error:
        st.session_state["refused"] = error


def try_now(do: Callable[[], object]) -> None:
    """Does something that may open another page, which no callback can, and shows a refusal where it is."""
    try:
        do()
    except EdgewiseError as error:
        session.show_error(error)
