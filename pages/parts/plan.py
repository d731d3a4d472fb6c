"""Which techniques to run, how long each is expected to take, and why one is pointless here."""

import streamlit as st

from engine.experiment import ModelFile
from engine.optimize import TRAINING_SHARE
from engine.techniques import TECHNIQUES
from pages.parts import wording as w

AROUND_S = 13.0  # the baseline, the look at the network and the final timing, on a small model


def checklist(model: ModelFile, dataset: str, device: str, budget: float) -> list[str]:
    """Shows every technique with its expected time; returns the ids of those that are checked."""
    reasons = {name: why_not(name, model, dataset, device) for name in TECHNIQUES}
    keys = {name: f"technique_{name}" for name in TECHNIQUES}
    chosen = [name for name in TECHNIQUES if st.session_state.get(keys[name], not reasons[name])]
    seconds = expected_seconds(chosen, budget)
    with st.container(border=True, gap="xsmall"):
        for name, technique in TECHNIQUES.items():
            box, text, time = st.columns([4, 9, 2], gap="small", vertical_alignment="center")
            box.checkbox(f"**{technique.title}**", value=not reasons[name], key=keys[name], persist_state="session")
            text.caption(technique.text + (f"  \n:material/warning: {w.plain(reasons[name])}" if reasons[name] else ""))
            time.caption(f"about {w.duration(round(seconds[name]) + 1e-9)}" if name in chosen else "not chosen")
    return chosen


def why_not(name: str, model: ModelFile, dataset: str | None, device: str) -> str:
    """Returns why a technique can't help on this device or without this data, or an empty string."""
    if TECHNIQUES[name].trains and not dataset:
        return "It trains, and there are no labelled images."
    return ""


def expected_seconds(chosen: list[str], budget: float) -> dict[str, float]:
    """Returns the expected seconds of each chosen technique, as the run itself will plan them."""
    total = sum(TECHNIQUES[name].weight for name in chosen) or 1
    return {name: 6 + 2 * len(TECHNIQUES[name].variants) + TRAINING_SHARE * budget * TECHNIQUES[name].weight / total
            for name in chosen}


def total_seconds(chosen: list[str], budget: float) -> float:
    """Returns the expected seconds of the whole run."""
    timing = 2 * sum(len(TECHNIQUES[name].variants) for name in chosen)
    return AROUND_S + timing + sum(expected_seconds(chosen, budget).values())
