"""Upload: choose the model and the data set, and see what was understood."""

import streamlit as st

from engine import inspect
from engine.datasets import DATASETS
from engine.errors import EdgewiseError
from models.catalog import CATALOG
from pages.parts import facts, session
from pages.parts import wording as w

home = session.workspace()
st.title("Choose a model and a data set")
st.caption("Your files stay on the machine that runs Edgewise.")

model, dataset = session.chosen_model(home), session.chosen_dataset()
left, right = st.columns(2, gap="medium")

with right, st.container(border=True):
    st.subheader("Data set")
    names = list(DATASETS)
    dataset = st.selectbox("Data set", names, index=names.index(dataset) if dataset in names else 0,
                           format_func=lambda name: DATASETS[name].title, label_visibility="collapsed")
    session.choose(dataset=dataset)
    session.name_in_url(dataset=dataset)
    facts.show_dataset(DATASETS[dataset], home)

with left, st.container(border=True):
    st.subheader("Model")
    source = st.segmented_control("Where it comes from", ["Bundled", "My file"], default="Bundled", required=True,
                                  key="source", persist_state="session", label_visibility="collapsed")
    if source == "Bundled":
        names = list(CATALOG)
        taken = names.index(model.name) if model and model.name in names else None
        name = st.selectbox("Bundled model", names, index=taken, placeholder="Choose one", label_visibility="collapsed")
        if name and (model is None or model.name != name):
            try:
                session.choose(model=inspect.inspect_model(name))
            except EdgewiseError as error:
                session.show_error(error)
                st.stop()
            session.choose(dataset=CATALOG[name].dataset)
            st.rerun()
    else:
        file = st.file_uploader("Model file", label_visibility="collapsed",
                                help="PyTorch weights or module, safetensors, ONNX, Keras. Recognised by content, not by name.")
        architecture = st.text_input("Architecture", placeholder="found by itself", key="architecture", persist_state="session",
                                     help="Only for bare weights that Edgewise can't place: the network they belong to, "
                                          "such as resnet18.")
        known = (file.file_id, architecture, dataset) if file else None
        if file and st.session_state.get("inspected") != known:
            # labelled images settle how the model wants its input scaled; without them it is only guessed
            if not facts.prepared(dataset, home):
                facts.prepare(DATASETS[dataset], home)
            with st.spinner("Opening it behind the wall…"):
                try:
                    model = inspect.inspect_model(session.keep_upload(file.getvalue(), home), file.name,
                                                  dataset=facts.prepared(dataset, home), architecture=architecture or None,
                                                  home=home.home)
                except EdgewiseError as error:
                    session.show_error(error)
                    st.stop()
            session.remember_upload(model)
            session.choose(model=model)
            st.session_state["inspected"] = known
    if model:
        facts.show_model(model)
    else:
        st.caption("Edgewise reads PyTorch, ONNX and Keras image classifiers.")

if model:
    for sentence in facts.mismatches(model, DATASETS[dataset]):
        st.warning(sentence, icon=":material/warning:")
if st.button("Configure the run", type="primary", icon=":material/tune:", disabled=model is None,
             help=None if model else "Choose a model first."):
    st.switch_page("pages/configure.py", query_params={"model": session.name_of(model), "dataset": dataset})
