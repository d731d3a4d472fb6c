"""The finished run that ships with the app: what one gets, in its own figures, and the way into it."""

import json
import zipfile
from typing import Any

import streamlit as st

from engine.run import travel
from engine.store.workspace import Workspace
from engine.techniques import title_of
from engine.vocabulary import Estimate, Recommendation, Variant, parse
from models.catalog import EXAMPLE_RUN
from pages.parts import session
from pages.parts import wording as w


def show(home: Workspace) -> None:
    """Shows baseline and recommended variant of the example, and the button that opens it; nothing where it
    does not ship.
    """
    if not EXAMPLE_RUN.exists():
        return
    baseline, chosen, asked = _figures(EXAMPLE_RUN.stat().st_mtime_ns)
    device = asked["device"]
    st.header("What you get")
    st.markdown(
        f"A network that reads handwritten digits, fitted to a {w.device(device)}. Recommended:"
        f" **{w.plain(title_of(chosen.id))}**."
    )
    was, now = baseline.estimates[device], chosen.estimates[device]
    here = [v.host.latency_ms.p50 if v.host and v.host.latency_ms else 0.0 for v in (baseline, chosen)]
    cards = [
        ("File", w.size(chosen.size_bytes), f"was {w.size(baseline.size_bytes)}"),
        ("Accuracy", w.percent(chosen.accuracy or 0, 0, 1), f"was {w.percent(baseline.accuracy or 0, 0, 1)}"),
        ("Time, measured on a PC", w.ms(here[1]), f"was {w.ms(here[0])}"),
        (
            f"{w.device(device)}, predicted",
            w.ms(now.latency_ms),
            f"{_between(now)}, was {w.ms(was.latency_ms)}",
        ),
    ]
    with st.container(horizontal=True):
        for label, value, more in cards:
            st.metric(label, value, more, "off", delta_arrow="off", border=True)
    if st.button("Look at this finished run", icon=":material/visibility:"):
        run = _taken_in(home, asked["created"])
        session.remember_run(run)
        st.switch_page("pages/compare.py", query_params={"run": run})


def _between(found: Estimate) -> str:
    return f"{found.low_ms:.2g}–{found.high_ms:.2g}"


def _taken_in(home: Workspace, created: float) -> str:
    """Returns the id of the example in this workspace, known by when it was made; taken in where it is not
    there yet.
    """
    there = [row["id"] for row in session.own_runs(home.runs()) if row["created"] == created]
    return there[0] if there else travel.unpack(EXAMPLE_RUN, home)


@st.cache_data
def _figures(stamp: int) -> tuple[Variant, Variant, dict[str, Any]]:
    """Returns the example's baseline, its recommended variant, and what was asked. `stamp`: of the file
    read.
    """
    with zipfile.ZipFile(EXAMPLE_RUN) as archive:
        result = json.loads(archive.read("result.json"))
        winner = parse(Recommendation, result["recommendation"], stored=True).winner
        variants = [
            parse(Variant, json.loads(archive.read(f"variants/{name}.json")), stored=True)
            for name in ("baseline", winner)
        ]
        return variants[0], variants[1], json.loads(archive.read("experiment.json"))
