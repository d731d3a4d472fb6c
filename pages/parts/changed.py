"""The test images that your model answers rightly and a variant wrongly, or the other way round."""

import base64
import html
import io

import numpy as np
import streamlit as st
from PIL import Image

from engine.datasets.store import NotReady
from engine.errors import EdgewiseError
from engine.judge.changes import Change, by_class
from engine.run.answers import changes_of
from engine.store.workspace import Workspace
from engine.vocabulary import Run, Variant
from pages.parts import facts
from pages.parts import wording as w

DIRECTIONS = {"lost": "Lost", "won": "Won"}
AT_ONCE = 24
ALL = -1
SIDE_PX = 128  # of a thumbnail; smaller pictures are enlarged without blur


@st.fragment
def show(run: Run, variant: Variant, home: Workspace) -> None:
    """Shows both kinds of images, by class and by direction, with both answers and confidences."""
    if variant.id == "baseline" or variant.status != "done":
        st.caption("Choose a finished variant above: it is held against your model.")
        return
    try:
        found, test = changes_of(run, variant, home)
    except NotReady:
        facts.offer_pictures(run, home, "changed")
        return
    except EdgewiseError as error:
        st.caption(w.plain(error))
        return
    counts, classes = by_class(found), run.experiment.model.classes
    lost = sum(count["lost"] for count in counts.values())
    st.markdown(
        f"Of {len(test.labels):,} test images {w.code(variant.id)} lost **{lost:,}** that your model answers"
        f" rightly, and won **{len(found) - lost:,}** that it answers wrongly."
    )
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        direction = st.segmented_control(
            "Direction",
            list(DIRECTIONS),
            default="lost" if lost else "won",
            required=True,
            format_func=DIRECTIONS.get,
            key="changed_direction",
        )
        names = {ALL: "all classes"} | {
            i: f"{w.cell(class_name(classes, i))} ({count['lost']} lost, {count['won']} won)"
            for i, count in counts.items()
        }
        true = st.selectbox(
            "True class", list(names), format_func=names.get, key=f"changed_class_{variant.id}", width=280
        )
    kept = [c for c in found if c.direction == direction and true in (ALL, c.true)]
    if not kept:
        st.caption("None of these.")
        return
    many = len(kept) > AT_ONCE
    page = (
        st.number_input(
            "Page",
            1,
            -(-len(kept) // AT_ONCE),
            key=f"changed_page_{variant.id}_{direction}_{true}",
            width=140,
        )
        if many
        else 1
    )
    first = AT_ONCE * (page - 1)
    shown = kept[first : first + AT_ONCE]
    st.html(pictures(shown, test.images, classes))
    st.caption(
        f"{first + 1:,} to {first + len(shown):,} of {len(kept):,}; first come those where the one that is"
        " wrong was surest. Percentages are confidences."
    )


def pictures(shown: list[Change], images: np.ndarray, classes: list[str]) -> str:
    """Returns thumbnails with both answers as HTML; names are text in it, whatever they hold."""
    return f'<div class="ew-pictures">{"".join(_figure(c, images[c.image], classes) for c in shown)}</div>'


def _figure(change: Change, image: np.ndarray, classes: list[str]) -> str:
    def said(index: int, confidence: float) -> str:
        mark = "✓" if index == change.true else "✗"
        return f"{mark} {html.escape(class_name(classes, index))}, {100 * confidence:.0f}{w.NBSP}%"

    true = html.escape(class_name(classes, change.true))
    return (
        f'<figure><img src="{thumbnail(image)}" alt="Test image {change.image}, {true}">'
        f"<figcaption><b>{true}</b><br>your model {said(change.before, change.before_confidence)}<br>"
        f"variant {said(change.after, change.after_confidence)}</figcaption></figure>"
    )


def thumbnail(image: np.ndarray) -> str:
    """Returns an image (uint8 [height, width, 1 or 3]) as a small picture inside a URL."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else np.ascontiguousarray(image))
    scale = SIDE_PX // max(picture.size)
    if scale > 1:
        picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
    picture.thumbnail((SIDE_PX, SIDE_PX))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def class_name(classes: list[str], index: int) -> str:
    """Returns what a class is called, cut to what fits under a picture; no markup is taken out of it."""
    return classes[index][:40] if index < len(classes) else f"class {index}"
