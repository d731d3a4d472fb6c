"""Upload: choose the model and the data set, and see what was understood."""

import streamlit as st

from engine.datasets import DATASETS
from engine.errors import EdgewiseError
from engine.formats import class_order, inspect
from engine.store import uploads
from models.catalog import CATALOG
from pages.parts import facts, session, starter, visitor

home = session.workspace()
st.title("Choose a model and a data set")
st.caption("Your files stay on the machine that runs Edgewise.")

model, dataset = session.chosen_model(home), session.chosen_dataset(home)
left, right = st.columns(2, gap="medium")

# ---- the data set: first, because its labelled images help to understand the model -------------------------

with right, st.container(border=True):
    st.header("Data set")
    own = dataset is not None and dataset not in DATASETS
    source = st.segmented_control(
        "Where the data set comes from",
        ["Known", "My ZIP"],
        default="My ZIP" if own else "Known",
        required=True,
        label_visibility="collapsed",
    )
    if source == "Known":
        names = list(DATASETS)
        dataset = st.selectbox(
            "Data set",
            names,
            index=names.index(dataset) if dataset in names else 0,
            format_func=facts.title,
            label_visibility="collapsed",
        )
    else:
        file = st.file_uploader(
            "ZIP of class folders",
            type="zip",
            help="One folder of pictures a class, with or without folders train and test around them.",
        )
        if file:
            try:
                dataset = str(visitor.keep(file.getvalue(), "data.zip", home))
            except EdgewiseError as error:
                session.show_error(error)
                st.stop()
            if not facts.prepared(dataset, home):
                facts.prepare(dataset, home)
    info = facts.info_of(dataset, home) if dataset and (source == "Known") == (dataset in DATASETS) else None
    if info:
        session.choose(dataset=dataset)
        session.name_in_url(dataset=session.name_of_dataset(dataset))
        facts.show_dataset(info, home)
    else:
        st.caption("A ZIP with one folder of pictures for each class.")

# ---- the model ---------------------------------------------------------------------------------------------

with left, st.container(border=True):
    st.header("Model")
    source = st.segmented_control(
        "Where the model comes from",
        ["Bundled", "My file"],
        default="Bundled",
        required=True,
        key="source",
        persist_state="session",
        label_visibility="collapsed",
    )
    if source == "Bundled":
        names = list(CATALOG)
        taken = names.index(model.name) if model and model.name in names else None
        name = st.selectbox(
            "Bundled model", names, index=taken, placeholder="Choose one", label_visibility="collapsed"
        )
        if name and (model is None or model.name != name):
            try:
                session.choose_shipped(name)
            except EdgewiseError as error:
                session.show_error(error)
                st.stop()
            st.rerun()
    else:
        file = st.file_uploader(
            "Model file",
            help=f"{inspect.taken()}. Recognised by content, not by name.",
        )
        architecture = st.text_input(
            "Architecture",
            placeholder="found by itself",
            key="architecture",
            persist_state="session",
            help=(
                "Only for bare weights that Edgewise can't place: the network they belong to, "
                "such as resnet18."
            ),
        )
        size_text = st.text_input(
            "Image size (height × width)",
            placeholder="found by itself",
            key="input_size",
            persist_state="session",
            help="Only where the file does not tell the size of its images: two numbers, such as 96 128.",
        )
        try:
            input_size = facts.image_size(size_text)
        except EdgewiseError as error:
            session.show_error(error)
            st.stop()
        known = (file.file_id, architecture, input_size, dataset) if file else None
        if file and st.session_state.get("inspected") != known:
            # labelled images settle how the model wants its input scaled; without them it is only guessed
            if info and not facts.prepared(info.id, home):
                facts.prepare(info.id, home)
            with st.spinner("Opening it behind the wall…"):
                try:
                    model = inspect.inspect_model(
                        visitor.keep(file.getvalue(), "model", home),
                        file.name,
                        dataset=info and facts.prepared(info.id, home),
                        architecture=architecture.strip() or None,
                        input_size=input_size,
                        home=home.home,
                    )
                except EdgewiseError as error:
                    session.show_error(error)
                    st.stop()
            uploads.remember(model)
            session.choose(model=model)
            session.name_in_url(model=session.name_of(model))
            st.session_state["inspected"] = known
    if model:
        facts.show_model(model)
        if model.class_order and st.button(
            "Take the class order that the images point to",
            icon=":material/swap_vert:",
            key="class_order",
            help=", ".join(facts.w.plain(name[:40]) for name in model.class_order[:20]),
        ):
            model = class_order.accepted(model, class_order.FOUND)
            uploads.remember(model)
            session.choose(model=model)
            st.rerun()
    else:
        st.caption("Edgewise reads PyTorch, ONNX and Keras image classifiers.")

# ---- a model of one's own, where there is none yet ---------------------------------------------------------

if info:
    starter.section(info.id, home)

# ---- the next step -----------------------------------------------------------------------------------------

for sentence in facts.mismatches(model, info) if model and info else []:
    st.warning(sentence, icon=":material/warning:")
if model and info and (sentence := facts.resizing(model, info)):
    st.info(sentence, icon=":material/aspect_ratio:")
ready = model is not None and info is not None
if st.button(
    "Configure the run",
    type="primary",
    icon=":material/tune:",
    disabled=not ready,
    help=None if ready else "Choose a model and a data set first.",
):
    st.switch_page(
        "pages/configure.py",
        query_params={"model": session.name_of(model), "dataset": session.name_of_dataset(dataset)},
    )
