"""Limits: fields that take a number or nothing, and what they do to the variants of a run."""

from typing import Any

import streamlit as st

from engine.errors import BadInput
from engine.judge import recommend
from engine.judge.limits import LIMITS, Limit, placed
from engine.judge.limits import judged as judged_by
from engine.vocabulary import (
    Constraints,
    Experiment,
    ModelFile,
    Recommendation,
    Variant,
    Weights,
    parse,
)
from pages.parts import devices
from pages.parts import wording as w


def _title(limit: Limit) -> str:
    what = f"{limit.label}{limit.where}" if limit.is_least else limit.label
    side = "least" if limit.is_least else "most"
    return f"{what[0].upper()}{what[1:]} at {side} ({limit.unit or '0 to 1'})"


FIELDS = {limit.id: _title(limit) for limit in LIMITS.values()}


def fields(model: ModelFile, device: str, runtime: str) -> tuple[Constraints, str]:
    """Shows a field a limit with the model's own figure below; returns the limits, and what is wrong with
    them or "".
    """
    found, later = devices.before_the_run(model, device, runtime), "Your model: known in the run."
    own = {
        "max_accuracy_drop_pp": "Your model: 0 pp, by definition.",
        "max_size_mb": f"Your model: {w.with_unit(model.size_bytes / 1e6, 'MB')}.",
        "max_latency_ms": f"Your model: about {w.estimate(found)}." if found and found.latency_ms else later,
        "max_memory_mb": (
            f"Your model: about {w.with_unit(found.memory_mb, 'MB')}." if found and found.memory_mb else later
        ),
        "max_energy_mj": (
            f"Your model: about {w.with_unit(found.energy_mj, 'mJ')} an image."
            if found and found.energy_mj
            else later
        ),
        "min_accuracy": later,
        "min_recall": later,
        "min_class_recall": later,
        "max_robust_drop_pp": "Measured at the end of the run, on variants that keep the other limits.",
    }
    values: dict[str, Any] = {}
    wrong = ""
    with st.container(horizontal=True, gap="medium"):
        for name, label in FIELDS.items():
            with st.container(width=220, gap="xsmall"):
                typed = st.text_input(
                    label, placeholder="no limit", live=True, key=f"limit_{name}", persist_state="session"
                )
                if name == "min_class_recall":
                    values |= _of_class(model.classes, key="limit_recall_class", is_asked=bool(typed))
                st.caption(own[name])
            try:
                values[name] = parse_limit(typed, name)
            except BadInput as error:
                wrong = wrong or str(error)
    return _placed(values, model.classes), wrong


USUAL = ("max_accuracy_drop_pp", "max_size_mb", "max_latency_ms", "max_memory_mb", "max_energy_mj")


def panel(asked: Constraints, classes: list[str]) -> Constraints:
    """Shows a field a limit, filled with the run's own; returns what stands in them, the run's own where that
    is wrong.
    """
    st.subheader("Limits")
    values: dict[str, Any] = {}
    wrong = []
    for name in USUAL:
        values[name] = _tried(name, asked, wrong)
    others = [name for name in FIELDS if name not in USUAL]
    with st.expander("More limits", expanded=any(getattr(asked, name) is not None for name in others)):
        for name in others:
            values[name] = _tried(name, asked, wrong)
            if name == "min_class_recall":
                values |= _of_class(classes, "try_recall_class", values[name] is not None, asked.recall_class)
    if wrong:
        st.error(wrong[0])
    return _placed(values, classes)


WEIGHTS = {"size": "A small file", "speed": "Speed", "accuracy": "Accuracy"}


def weights(own: Weights, prefix: str) -> Weights:
    """Asks how much each of the three counts for the balanced goal; 1 is usual."""
    given = {
        name: st.slider(label, 0.0, 4.0, getattr(own, name), 0.25, key=f"{prefix}_weight_{name}", width=220)
        for name, label in WEIGHTS.items()
    }
    return Weights(**given)


def _tried(name: str, asked: Constraints, wrong: list[str]) -> float | None:
    own = getattr(asked, name)
    if f"try_{name}" not in st.session_state:
        type_in(name, own)
    typed = st.text_input(
        FIELDS[name],
        placeholder="no limit",
        live=True,
        key=f"try_{name}",
    )
    try:
        return parse_limit(typed, name)
    except BadInput as error:
        wrong.append(str(error))
        return own


def type_in(name: str, value: float | None) -> None:
    """Fills the panel's field of a limit, before it is drawn or in a callback."""
    st.session_state[f"try_{name}"] = "" if value is None else f"{value:g}"


def _of_class(classes: list[str], key: str, is_asked: bool, own: str | None = None) -> dict[str, str | None]:
    """Asks which class a least recall is about, where there is one."""
    if not is_asked:
        return {}
    names = {i: w.cell(name)[:40] for i, name in enumerate(classes)}
    index = st.selectbox(
        "Of the class",
        list(names),
        index=classes.index(own) if own in classes else 0,
        format_func=names.get,
        key=f"{key}_{len(classes)}",  # another model has other classes
        persist_state="session",
    )
    return {"recall_class": classes[index]}


def _placed(values: dict[str, Any], classes: list[str]) -> Constraints:
    if values.get("min_class_recall") is None:
        values.pop("recall_class", None)
    return placed(Constraints(**values), classes)


def parse_limit(typed: str | None, name: str) -> float | None:
    """Reads a limit as people type it, a decimal comma included; raises BadInput with one sentence."""
    bare = (typed or "").strip().replace(",", ".")
    if not bare:
        return None
    try:
        value = float(bare)
    except ValueError:
        value = float("nan")
    label = FIELDS[name].split(" at ")[0]
    try:
        return getattr(parse(Constraints, {name: value}), name)
    except BadInput:
        shown = w.plain(bare[:20])
        raise BadInput(
            f"{label}: “{shown}” is no limit. Type a number of 0 or more, or leave the field empty."
        ) from None


def judge(
    found: list[Variant], asked: Experiment, limits: Constraints, weights: Weights
) -> tuple[list[Variant], Recommendation]:
    """Returns copies of a run's variants as these limits judge them, and what would then be recommended."""
    device, cautious = asked.device, asked.cautious
    judged = [judged_by(variant, limits, device, cautious) for variant in found]
    return judged, recommend.recommend(judged, limits, asked.goal, device, cautious, weights)


def show_outcome(judged: list[Variant], found: Recommendation, own: Recommendation, is_own: bool) -> None:
    """Says how many variants meet the limits and who would win."""
    done = [v for v in judged if v.status == "done"]
    kept = sum(v.admissible == "yes" for v in done)
    unknown = sum(v.admissible == "unknown" for v in done)
    st.markdown(
        f"**{kept} of {len(done)}** variants meet every limit"
        + (f", {unknown} can't be judged, as a figure is not known." if unknown else ".")
    )
    if is_own:
        st.caption(
            "These are the run's limits. Change one: the chart and the winner follow, the run stays as it is."
        )
        return
    if found.winner is None:
        nearest = next((v for v in judged if v.id == found.nearest), None)
        near = f" Nearest: {w.code(nearest.id)}, it {w.misses(nearest)}." if nearest else ""
        st.markdown(f"Nothing meets these limits.{near}")
    else:
        st.markdown(f"{w.code(found.winner)} would {'still ' if found.winner == own.winner else ''}win.")
    st.button("Back to the run's limits", on_click=_reset, type="tertiary", icon=":material/undo:")


def _reset() -> None:
    for key in [key for key in st.session_state if str(key).startswith("try_")]:
        st.session_state.pop(key, None)
