"""Limits: fields that take a number or nothing, and what they do to the variants of a run."""

import streamlit as st

from engine.errors import BadInput
from engine.judge import recommend
from engine.judge.limits import LIMITS, Limit
from engine.judge.limits import judged as judged_by
from engine.vocabulary import Constraints, Goal, ModelFile, Recommendation, Variant, parse
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
    }
    values, wrong = {}, ""
    with st.container(horizontal=True, gap="medium"):
        for name, label in FIELDS.items():
            with st.container(width=220, gap="xsmall"):
                typed = st.text_input(
                    label, placeholder="no limit", live=True, key=f"limit_{name}", persist_state="session"
                )
                st.caption(own[name])
            try:
                values[name] = parse_limit(typed, name)
            except BadInput as error:
                wrong = wrong or str(error)
    return Constraints(**values), wrong


def panel(asked: Constraints) -> Constraints:
    """Shows a field a limit, filled with the run's own; returns what stands in them, the run's own where that
    is wrong.
    """
    st.subheader("Limits")
    values, wrong = {}, ""
    for name, label in FIELDS.items():
        own = getattr(asked, name)
        typed = st.text_input(
            label,
            value="" if own is None else f"{own:g}",
            placeholder="no limit",
            live=True,
            key=f"try_{name}",
        )
        try:
            values[name] = parse_limit(typed, name)
        except BadInput as error:
            wrong, values[name] = wrong or str(error), own
    if wrong:
        st.error(wrong)
    return Constraints(**values)


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
    found: list[Variant], limits: Constraints, goal: Goal, device: str, cautious: bool
) -> tuple[list[Variant], Recommendation]:
    """Returns copies of the variants as these limits judge them, and what would then be recommended."""
    judged = [judged_by(variant, limits, device, cautious) for variant in found]
    return judged, recommend.recommend(judged, limits, goal, device, cautious)


def show_outcome(judged: list[Variant], found: Recommendation, own: Recommendation, is_own: bool) -> None:
    """Says how many variants meet the limits and who would win."""
    done = [v for v in judged if v.status == "done"]
    kept = sum(v.admissible == "yes" for v in done)
    unknown = sum(v.admissible == "unknown" for v in done)
    st.markdown(
        f"**{kept} of {len(done)}** variants meet every limit"
        + (f", {unknown} can't be judged without an estimate." if unknown else ".")
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
    for name in FIELDS:
        st.session_state.pop(f"try_{name}", None)
