"""What was understood of a model and of a data set."""

import re

import numpy as np
import pandas as pd
import streamlit as st

from engine import datasets
from engine.datasets import DATASETS, DatasetInfo
from engine.errors import BadInput, EdgewiseError
from engine.run.prepare import prepare as prepare_data
from engine.store.workspace import Workspace
from engine.vocabulary import ModelFile, Run
from engine.wall import sandbox
from pages.parts import session
from pages.parts import wording as w

SAMPLES = 20
REACH = {
    "post_training": "Only techniques that need no training can be used on this file.",
    "inspect": "This file can be looked at and estimated, not made smaller.",
}


def show_model(model: ModelFile) -> None:
    """Shows what a model is, and what is odd about it."""
    height, width, channels = model.input_shape
    rows = [
        ("Name", w.code(model.name)),
        ("Format", f"{w.plain(w.FORMATS.get(model.format, model.format))}, {w.FRAMEWORKS[model.framework]}"),
    ]
    if model.architecture:
        rows.append(("Architecture", w.code(model.architecture)))
    rows += [("Size", w.size(model.size_bytes)), ("Parameters", w.number(model.parameters))]
    if model.layers:
        rows.append(("Layers", str(model.layers)))
    rows += [
        ("Input", f"{height} × {width} × {channels}, {'grey' if channels == 1 else 'colour'}"),
        ("Classes", f"{len(model.classes)}: {_some(model.classes)}"),
    ]
    show_facts(rows)
    for sentence in model.evidence:
        st.caption(f":material/search: {w.plain(sentence)}")
    if REACH.get(model.reach):
        st.info(REACH[model.reach], icon=":material/info:")
    for warning in model.warnings:
        st.warning(w.plain(warning), icon=":material/warning:")


def image_size(text: str) -> tuple[int, int] | None:
    """Returns height and width from what was typed, such as "96 128" or "96x128"; one number is both. None
    for an empty text. Raises BadInput for anything else.
    """
    if not text.strip():
        return None
    sides = re.fullmatch(r"(\d{1,4})(?:\s*[\s,x×*]\s*(\d{1,4}))?", text.strip().lower())
    if sides is None:
        raise BadInput("The image size is two numbers, height and width, such as 96 128.")
    return int(sides[1]), int(sides[2] or sides[1])


def show_facts(rows: list[tuple[str, str]]) -> None:
    """Shows names and values in two columns that line up; values are markdown."""
    st.table(
        pd.DataFrame(rows, columns=["fact", "value"]), border="horizontal", hide_index=True, hide_header=True
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(w.plain(name[:30]) for name in names[:6])
    return shown + (" …" if len(names) > 6 else "")


def show_dataset(info: DatasetInfo, home: Workspace) -> None:
    """Shows what a data set holds: parts, classes, images per class, and some images where it is made
    ready.
    """
    height, width, channels = info.image_shape
    show_facts(
        [
            ("Holds", w.plain(info.text)),
            ("Images", f"{height} × {width} × {channels}"),
            ("Classes", f"{len(info.classes)}: {_some(list(info.classes))}"),
            ("Parts", ", ".join(f"{count:,} {part}" for part, count in info.sizes.items())),
        ]
    )
    if not prepared(info.id, home) and (
        not st.button("Make it ready and show samples", icon=":material/image:", key="prepare")
        or not prepare(info.id, home)
    ):
        return
    images, labels = samples(info, home)
    st.image(
        _grid(images),
        alt=f"{len(images)} sample images of {info.title}: "
        + ", ".join(info.classes[label] for label in labels),
        width="stretch",
    )
    counts = datasets.describe(info.id, home.home)["class_counts"]["train"]
    st.caption(f"{min(counts):,} to {max(counts):,} training images per class.")
    for note in [] if info.id in DATASETS else notes(info.id, home):
        st.caption(note)
    if info.id not in DATASETS and (left := skipped(info.id, home)):
        with st.expander("Skipped files"):
            st.table(
                pd.DataFrame(
                    {"File": [w.code(f["name"]) for f in left], "Why": [w.plain(f["why"]) for f in left]}
                ),
                border="horizontal",
                hide_index=True,
            )


def title(dataset: str) -> str:
    """Returns a data set's name for people."""
    return DATASETS[dataset].title if dataset in DATASETS else "your ZIP"


def info_of(dataset: str, home: Workspace) -> DatasetInfo | None:
    """Returns what is known of a preset, or of a ZIP that is made ready; None for one that is not."""
    if dataset in DATASETS:
        return DATASETS[dataset]
    if not prepared(dataset, home):
        return None
    meta = datasets.describe(dataset, home.home)
    sizes = {part: stop - start for part, (start, stop) in meta["parts"].items()}
    skipped = f", {meta['skipped_count']:,} files skipped" if meta.get("skipped_count") else ""
    return DatasetInfo(
        id=dataset,
        title="your ZIP",
        text=f"{sum(sizes.values()):,} images of yours{skipped}",
        classes=tuple(meta["classes"]),
        image_shape=tuple(meta["image_shape"]),
        sizes=sizes,
    )


def notes(dataset: str, home: Workspace) -> list[str]:
    """Returns what was understood of the set's folders and tables, a sentence each."""
    return datasets.describe(dataset, home.home).get("notes", [])


def skipped(dataset: str, home: Workspace) -> list[dict]:
    """Returns the first files that were skipped, each with its name and why."""
    return datasets.describe(dataset, home.home).get("skipped", [])


def prepared(dataset: str, home: Workspace) -> str | None:
    """Returns the id of a data set that is made ready on disk, else None."""
    try:
        datasets.describe(dataset, home.home)
    except EdgewiseError:
        return None
    return dataset


def offer_pictures(run: Run, home: Workspace, key: str) -> None:
    """Offers to make a run's data set ready, which it need not be where the run was made elsewhere."""
    dataset, model = run.experiment.dataset or "", run.experiment.model
    st.caption(f"The pictures of this run's data set, {w.plain(title(dataset))}, are not ready here yet.")
    wanted = st.button("Make them ready", key=f"{key}_data", icon=":material/photo_library:")
    if wanted and prepare(dataset, home, model):
        st.rerun()


def prepare(dataset: str, home: Workspace, model: ModelFile | None = None) -> bool:
    """Makes a data set ready in a child process, as a model wants it, with its progress shown; says why where
    that fails.
    """
    bar = st.progress(0.0, text=f"Making {title(dataset)} ready")
    watch = sandbox.Watch(
        on_message=lambda m: bar.progress(min(1.0, m.get("fraction", 0.0)), text=m.get("text", ""))
    )
    try:
        prepare_data(dataset, home.home, model, watch)
    except EdgewiseError as error:
        bar.empty()
        session.show_error(error)
        return False
    bar.empty()
    return True


def samples(info: DatasetInfo, home: Workspace) -> tuple[np.ndarray, np.ndarray]:
    """Returns a few validation images with labels, read from the disk's memory map."""
    part = datasets.load(info.id, home.home, ("validation",), limit=SAMPLES)["validation"]
    return np.asarray(part.images), np.asarray(part.labels)


def _grid(images: np.ndarray) -> np.ndarray:
    """Returns the images side by side in two rows, enlarged without blur so that single pixels can be
    seen.
    """
    columns = max(1, len(images) // 2)
    padded = np.pad(images[: 2 * columns], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    rows = [np.concatenate(list(padded[i * columns : (i + 1) * columns]), axis=1) for i in range(2)]
    return np.squeeze(np.concatenate(rows, axis=0).repeat(3, axis=0).repeat(3, axis=1))


def mismatches(model: ModelFile, info: DatasetInfo) -> list[str]:
    """Returns what does not fit between a model and a data set, a sentence each."""
    found = []
    if len(model.classes) != len(info.classes):
        found.append(
            f"The model tells {len(model.classes)} classes apart and {info.title} has {len(info.classes)}: "
            "choose the data set that it was trained on."
        )
    elif not set(model.classes) & set(info.classes) and not all(name.isdigit() for name in model.classes):
        found.append(
            f"The model's classes ({_some(model.classes)}) are none of those of {info.title}"
            f" ({_some(list(info.classes))}): choose the data set that it was trained on."
        )
    if info.id not in DATASETS:
        return found  # pictures of one's own are brought to the model's size
    if model.input_shape[2] != info.image_shape[2]:
        kinds = {1: "grey", 3: "colour"}
        found.append(
            f"The model takes {kinds.get(model.input_shape[2], 'other')} images and {info.title} holds "
            f"{kinds.get(info.image_shape[2], 'other')} ones: choose a data set that fits."
        )
    return found


def resizing(model: ModelFile, info: DatasetInfo) -> str:
    """Returns a sentence where a known data set's images are brought to the model's own size, else
    nothing.
    """
    if info.id not in DATASETS or tuple(model.input_shape[:2]) == tuple(info.image_shape[:2]):
        return ""
    return (
        f"The model takes {model.input_shape[0]} × {model.input_shape[1]} pixels, so the images of"
        f" {info.title} are brought from {info.image_shape[0]} × {info.image_shape[1]} to that size."
    )
