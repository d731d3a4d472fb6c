"""Which techniques to run, how long each is expected to take, and why one is pointless here."""

import streamlit as st

from engine import ask, datasets
from engine.run.plan import expected_seconds, training_seconds
from engine.runtimes import converts, format_of
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import ModelFile
from estimator import capability
from pages.parts import facts
from pages.parts import wording as w


def checklist(model: ModelFile, dataset: str | None, device: str, runtime: str, budget: float) -> list[str]:
    """Shows every technique with its expected time; returns the ids of those that are checked."""
    reasons = {name: why_not(name, model, dataset) for name in TECHNIQUES}
    file_format = format_of(model, runtime)
    found = {
        name: capability.check_technique(device, name, technique.precision, file_format)
        for name, technique in TECHNIQUES.items()
    }
    default = {name: not reasons[name] and found[name].answer != "pointless" for name in TECHNIQUES}
    # a key a device, so that what is pointless on one starts unchecked there and a choice for another stays
    keys = {name: f"technique_{name}_{device}" for name in TECHNIQUES}
    chosen = [
        name for name in TECHNIQUES if not reasons[name] and st.session_state.get(keys[name], default[name])
    ]
    seconds = expected(chosen, budget, model, runtime)
    with st.container(border=True, gap="xsmall"):
        for name, technique in TECHNIQUES.items():
            box, text, time = st.columns([4, 9, 2], gap="small", vertical_alignment="center")
            box.checkbox(
                f"**{technique.title}**",
                value=default[name],
                key=keys[name],
                persist_state="session",
                disabled=bool(reasons[name]),
            )
            doubt = reasons[name] or (found[name].why if found[name].answer != "supported" else "")
            text.caption(technique.text + (f"  \n:material/warning: {w.plain(doubt)}" if doubt else ""))
            time.caption(w.about(seconds[name]) if name in chosen else "not chosen")
    return chosen


def too_few(chosen: list[str], dataset: str, home: Workspace) -> list[str]:
    """Returns what is too little in the data set for the chosen techniques; nothing while it is not made
    ready.
    """
    return ask.too_few(datasets.describe(dataset, home.home), chosen) if facts.prepared(dataset, home) else []


def why_not(name: str, model: ModelFile, dataset: str | None) -> str:
    """Returns why a technique can't be used on this model with this data, or an empty string."""
    why = ask.lacks(TECHNIQUES[name], model, dataset)
    return why and f"{why[0].upper()}{why[1:].rstrip('.')}."


def total_seconds(chosen: list[str], budget: float, model: ModelFile, runtime: str) -> float:
    """Returns the expected seconds of the whole run."""
    return sum(expected(chosen, budget, model, runtime).values())


def expected(chosen: list[str], budget: float, model: ModelFile, runtime: str) -> dict[str, float]:
    """Returns the expected seconds of each line of the run page, as the run itself will plan them."""
    training = training_seconds([name for name in chosen if TECHNIQUES[name].trains], budget)
    return expected_seconds(chosen, training, budget, converts(model, runtime))
