"""A picture through your model and up to two variants, side by side."""

import hashlib
import html
import io
import random

import numpy as np
import streamlit as st
from PIL import Image

from engine import datasets
from engine.datasets.store import NotReady
from engine.errors import EdgewiseError
from engine.run.prepare import wanted
from engine.run.trying import MOST_BYTES, Answer, Tried, try_picture
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from pages.parts import changed, facts, session
from pages.parts import wording as w

SOURCES = ("Sample", "File", "Camera")
KINDS = ["jpg", "jpeg", "png", "bmp", "gif", "webp", "ppm", "pgm", "tif", "tiff"]
SHOWN = 3  # classes


@st.fragment
def show(run: Run, picked: Variant, home: Workspace) -> None:
    """Asks for a picture and for variants, and shows what each says of it."""
    able = {v.id: v for v in run.variants if v.status == "done" and v.artifacts}
    if "baseline" not in able:
        st.caption("Your model has no file in this run.")
        return
    others = [name for name in able if name != "baseline"]
    sources = [name for name in SOURCES if name != "Sample" or run.experiment.dataset]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.segmented_control("Picture", sources, default=sources[0], required=True, key="try_source")
        names = st.multiselect(
            "Beside your model",
            others,
            default=[picked.id] if picked.id in others else others[:1],
            max_selections=2,
            key=f"try_variants_{picked.id}",
            width=420,
        )
    content, said = _picture(source, run, home)
    if content is None:
        if said:
            st.caption(said)
        return
    try:
        found = _tried(run, [able[name] for name in ("baseline", *names)], content, home)
    except EdgewiseError as error:
        session.show_error(error)
        return
    st.html(answers(found, run.experiment.model.classes))
    st.caption(
        " ".join(
            [
                said,
                "The picture is shown as the model sees it. Times: median of a few runs here, one thread.",
            ]
        ).strip()
    )


def _picture(source: str, run: Run, home: Workspace) -> tuple[bytes | None, str]:
    """Returns a picture's file as it came, untouched, and a sentence on it; None while there is none."""
    if source == "Camera":
        taken = st.camera_input("A picture of your camera", key="try_camera", width=420)
        return (taken.getvalue() if taken else None), ""
    if source == "File":
        file = st.file_uploader(
            "A picture file", type=KINDS, max_upload_size=MOST_BYTES // 10**6, key="try_file", width=420
        )
        return (file.getvalue() if file else None), ""
    return _sample(run, home)


def _sample(run: Run, home: Workspace) -> tuple[bytes | None, str]:
    model, dataset = run.experiment.model, run.experiment.dataset or ""
    try:
        part = datasets.load(
            dataset, home.home, ("validation",), classes=model.classes, **wanted(dataset, model)
        )["validation"]
    except NotReady:
        facts.offer_pictures(run, home, "sample")
        return None, ""
    except EdgewiseError as error:
        return None, w.plain(error)
    count = len(part.labels)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # none at first: to look at a page starts no process
        number = st.number_input(
            "Validation image", 1, count, None, key="try_sample", width=180, placeholder=f"1 to {count:,}"
        )
        st.button("Any of them", icon=":material/casino:", on_click=_draw, args=(count,))
    if number is None:
        return None, "Choose an image, and your model and the variant say what it is."
    image, label = np.asarray(part.images[number - 1]), int(part.labels[number - 1])
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue(), f"Its true class is {w.plain(changed.class_name(model.classes, label))}."


def _draw(count: int) -> None:
    st.session_state["try_sample"] = random.randint(1, count)


def _tried(run: Run, variants: list[Variant], content: bytes, home: Workspace) -> Tried:
    """Returns what variants say of a picture; the last answer is kept, as the page is drawn more often."""
    key = (run.id, tuple(v.id for v in variants), hashlib.sha256(content).hexdigest())
    kept = st.session_state.get("tried")
    if kept is None or kept[0] != key:
        with st.spinner("Asking behind the wall…"):
            kept = st.session_state["tried"] = key, try_picture(run, variants, content, home)
    return kept[1]


def answers(found: Tried, classes: list[str]) -> str:
    """Returns a picture and each file's answer as HTML; names are text in it, whatever they hold."""
    best = found.answers["baseline"].likeliest[0][0]
    picture = f'<figure><img src="{changed.thumbnail(found.image)}" alt="The picture"></figure>'
    cards = [_card(name, answer, best, classes) for name, answer in found.answers.items()]
    return f'<div class="ew-pictures ew-answers">{picture}{"".join(cards)}</div>'


def _card(name: str, answer: Answer, best: int, classes: list[str]) -> str:
    title = "your model" if name == "baseline" else html.escape(name)
    rows = "".join(
        f"<tr><td>{html.escape(changed.class_name(classes, index))}</td><td>{w.percent(share)}</td></tr>"
        for index, share in answer.likeliest[:SHOWN]
    )
    differs = "" if answer.likeliest[0][0] == best else "<br>≠ another answer than your model's"
    return (
        f"<figure><figcaption><b>{title}</b></figcaption><table>{rows}</table>"
        f"<figcaption>{w.ms(answer.ms)}{differs}</figcaption></figure>"
    )
