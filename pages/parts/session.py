"""Which run, model and data set this session works on. The URL names them, the workspace holds them.

`st.session_state` is a cache: the URL comes first, so that Back, refresh and a copied link land on the same
run.
"""

import json
import re
from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from engine import visitors
from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError
from engine.formats import inspect
from engine.run.on_board import judged, on_board
from engine.store import uploads
from engine.store.workspace import ENDED, Workspace
from engine.vocabulary import SCHEMA_VERSION, ModelFile, Run
from models.catalog import CATALOG
from pages.parts import visitor
from pages.parts import wording as w


def workspace() -> Workspace:
    """Returns the workspace, or ends the page with the sentence that says why there is none."""
    _leave_older_navigation()
    try:
        return Workspace()
    except EdgewiseError as error:
        show_error(error)
        st.stop()


def _leave_older_navigation() -> None:
    """Reloads a page that Streamlit opened without app.py, as it does for the first link into a fresh
    `app.py` server.
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.html("<script>location.reload()</script>", unsafe_allow_javascript=True)


def show_error(error: EdgewiseError) -> None:
    """Shows an error's sentence; it may quote names and ids, so nothing in it is markup."""
    st.error(w.plain(error), icon=":material/error:")


def stop_with_link(sentence: str, page: str, label: str) -> None:
    """Ends the page with what is missing and the way to it."""
    st.info(sentence, icon=":material/info:")
    st.page_link(page, label=label, icon=":material/arrow_forward:")
    st.stop()


# ---- the run -----------------------------------------------------------------------------------------------


def run_id() -> str | None:
    """Returns the id in the URL, else the session's; the URL names it from then on."""
    found = st.query_params.get("run") or st.session_state.get("run_id")
    if found:
        remember_run(found)
        name_in_url(run=found)
    return found


def name_in_url(**names: str) -> None:
    """Puts names into the URL in the place of the present entry of the browser's history.

    `st.query_params` would add an entry, and Back would first have to leave it again.
    """
    if all(st.query_params.get(key) == value for key, value in names.items()):
        return
    sets = "".join(
        f"url.searchParams.set({json.dumps(key)}, {json.dumps(value)});" for key, value in names.items()
    )
    script = f"const url = new URL(location.href); {sets} history.replaceState(history.state, '', url);"
    st.html(f"<script>{{{script.replace('<', chr(92) + 'u003c')}}}</script>", unsafe_allow_javascript=True)


def remember_run(found: str) -> None:
    """Makes a run the session's own."""
    st.session_state["run_id"] = found
    st.session_state.setdefault("own_runs", set()).add(found)


def forget_run(found: str) -> None:
    """Lets go of a run that was deleted."""
    if st.session_state.get("run_id") == found:
        del st.session_state["run_id"]
        st.query_params.pop("run", None)
    st.session_state.get("own_runs", set()).discard(found)


def own_runs(rows: list[dict]) -> list[dict]:
    """Leaves only the runs that this visitor may see: all on an own machine; on a public host those that he
    started, and those opened here.
    """
    who, opened = visitor.who(), st.session_state.get("own_runs", set())
    return [row for row in rows if who in (visitors.OWNER, row["owner"]) or row["id"] in opened]


def open_run(home: Workspace) -> Run:
    """Returns the run that the URL names, or ends the page with what to do instead."""
    found = run_id()
    if not found:
        stop_with_link(
            "There is no run yet. Choose a model and start one.", "pages/upload.py", "Choose a model"
        )
    try:
        if not re.fullmatch(r"[\w-]{1,64}", found):
            raise BadInput("No run has this id: check the link, or choose a run from your experiments.")
        run = _cached(found, home)
    except BadInput as error:
        st.session_state.pop("run_id", None)
        st.session_state.get("own_runs", set()).discard(found)
        show_error(error)
        st.page_link("pages/home.py", label="Go home", icon=":material/home:")
        st.stop()
    if run.experiment.schema_version != SCHEMA_VERSION:
        st.info(
            f"This run was written by an earlier Edgewise (schema {run.experiment.schema_version}): it can be"
            " looked at, not gone on with.",
            icon=":material/history:",
        )
    return run


def _cached(found: str, home: Workspace) -> Run:
    """Reads a run once: an ended one changes only when its events do."""
    stamp = (home.folder(found) / "events.jsonl").stat().st_mtime_ns
    cache = st.session_state.setdefault("runs", {})
    if found not in cache or cache[found][0] != stamp:
        cache.clear()  # one finished run is enough to hold
        cache[found] = (stamp, home.run(found))
    run = cache[found][1]
    return judged(run if run.state in ENDED else home.run(found), on_board(found, home))


# ---- what the next run is made of --------------------------------------------------------------------------


def choose(model: ModelFile | None = None, dataset: str | None = None) -> None:
    """Keeps the model or the data set of the next run."""
    if model is not None:
        st.session_state["model"] = model
    if dataset is not None:
        st.session_state["dataset"] = dataset


def choose_shipped(name: str) -> None:
    """Makes a shipped model and the data set that it was trained on the next run's."""
    choose(inspect.inspect_model(name), CATALOG[name].dataset)


def chosen_model(home: Workspace) -> ModelFile | None:
    """Returns the model of the next run: the session's, or the one that the URL names."""
    model, named = st.session_state.get("model"), _new_in_url("model")
    if named and (model is None or name_of(model) != named):
        model = _named_model(named, home)
        st.session_state["model"] = model
    if model is not None:
        name_in_url(model=name_of(model))
    return model


def chosen_dataset(home: Workspace) -> str | None:
    """Returns the data set of the next run, a preset's id or a file's path: the session's, or the one that
    the URL names.
    """
    dataset, named = st.session_state.get("dataset"), _new_in_url("dataset")
    if named in DATASETS:
        dataset = named
    elif found := uploads.file_of(named, "data.zip", home.home):
        dataset = str(found)
    if dataset:
        choose(dataset=dataset)
        name_in_url(dataset=name_of_dataset(dataset))
    return dataset


def name_of_dataset(dataset: str) -> str:
    """Returns what a data set is called in a URL: a preset its id, an uploaded one its hash."""
    return dataset if dataset in DATASETS else Path(dataset).parent.name


def _new_in_url(key: str) -> str:
    """Returns what the URL names when that is news: a link or Back outweighs the session, an old name does
    not.
    """
    named = st.query_params.get(key, "")
    is_news = named != st.session_state.get(f"seen_{key}")
    st.session_state[f"seen_{key}"] = named
    return named if is_news else ""


def name_of(model: ModelFile) -> str:
    """Returns what a model is called in a URL: a shipped one its id, an uploaded one its hash."""
    is_shipped = model.name in CATALOG and model.path == str(CATALOG[model.name].weights_path)
    return model.name if is_shipped else model.sha256


def _named_model(named: str, home: Workspace) -> ModelFile | None:
    try:
        return inspect.inspect_model(named) if named in CATALOG else uploads.model_of(named, home.home)
    except EdgewiseError:
        return None
