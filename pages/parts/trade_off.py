"""The trade-off beside limits to try, the latency on every device, and the pruning study; all follow the
limits at once.
"""

import streamlit as st

from engine.judge.limits import estimated
from engine.vocabulary import EVEN, Constraints, Experiment, Goal, Recommendation, Variant
from pages.parts import charts, latencies, limits, lines, pruning
from pages.parts import wording as w

WIDTH = 185
VIEWS = {"chart": "Trade-off", "devices": "Latency on every device", "pruning": "Pruning study"}


@st.fragment
def show(found: list[Variant], asked: Experiment, chosen: Recommendation, board: str) -> None:
    """Draws one of the views beside limits to play with; the run itself keeps the limits it was asked for.
    board: what the user's own device calls itself.
    """
    view, panel = st.columns([7, 3], gap="medium")
    with panel, st.container(border=True):
        tried = limits.panel(asked.constraints, asked.model.classes)
        weights = asked.weights
        if asked.goal == Goal.balanced:
            with st.expander("What counts how much", expanded=asked.weights != EVEN):
                weights = limits.weights(asked.weights, "try")
        judged, choice = limits.judge(found, asked, tried, weights)
        if sensed := sum(v.measured_energy_mj is not None for v in judged):
            st.caption(
                w.plain(f"Energy: as {board} measured it for {sensed} of the variants, else as predicted.")
            )
        limits.show_outcome(judged, choice, chosen, (tried, weights) == (asked.constraints, asked.weights))
    with view, st.container(border=True):
        wanted = st.segmented_control(
            "View",
            list(VIEWS),
            default="chart",
            required=True,
            format_func=VIEWS.get,
            key="view",
            bind="query-params",
            label_visibility="collapsed",
        )
        if wanted == "devices":
            latencies.show(judged, asked.device, tried.max_latency_ms, asked.cautious)
        elif wanted == "pruning":
            pruning.show(judged, asked, tried)
        else:
            _show_chart(judged, asked, tried, choice)
    if st.session_state.pop("opened", False):
        st.rerun()  # what a click opens is shown outside this fragment


def _show_chart(judged: list[Variant], asked: Experiment, tried: Constraints, choice: Recommendation) -> None:
    axes, x, y, device = _choose_axes(judged, asked.device)
    named = {"baseline", choice.winner, *choice.picks.values()} - {None}
    figure, alt, notes = charts.trade_off(
        judged,
        axes[x],
        axes[y],
        device,
        tried.set_limits(),
        choice.winner,
        sorted(name for name in named if name),
    )
    st.plotly_chart(
        figure,
        theme=None,
        config=charts.CONFIG,
        alt=alt,
        key="trade-off",
        on_select=_open,
        selection_mode="points",
    )
    lines.show((axes[name] for name in dict.fromkeys((x, y))), judged, asked, tried)
    is_drawn = any(axes[name].ends(v) for name in (x, y) for v in judged if v.status == "done")
    words = [
        "Bars are intervals: 95 % of shares, 90 % of predictions." if is_drawn else "",
        "Click on a mark to open its variant [below](#one-variant-in-detail).",
        *notes,
    ]
    st.caption(" ".join(word for word in words if word))


def _choose_axes(judged: list[Variant], own: str) -> tuple[dict[str, charts.Axis], str, str, str]:
    """Asks what is drawn; returns the axes, the chosen two and the device of what is predicted."""
    done = [v for v in judged if v.status == "done"]
    sensor = any(v.measured_energy_mj is not None for v in done)
    devices = _predicted_on(done, own)
    drawn = {
        name: axis.title.removesuffix(f" on {w.device(device)}")
        for device in devices
        for name, axis in charts.axes(own, device, sensor).items()
        if any(axis.value(v) is not None for v in done)
    }
    known = [name for name in charts.axes(own, own) if name in drawn]
    with st.container(horizontal=True):
        x = st.selectbox("Across", known, format_func=drawn.get, key="x", bind="query-params", width=WIDTH)
        y = st.selectbox(
            "Upwards",
            known,
            index=known.index("accuracy") if "accuracy" in known else min(1, len(known) - 1),
            format_func=drawn.get,
            key="y",
            bind="query-params",
            width=WIDTH,
        )
        device = own
        if len(devices) > 1 and {x, y} & set(charts.PREDICTED):
            device = st.selectbox(
                "Predicted on", devices, format_func=w.device, key="at", bind="query-params", width=WIDTH
            )
    return charts.axes(own, device, sensor), x, y, device


def _predicted_on(done: list[Variant], own: str) -> list[str]:
    """Returns the devices that something is predicted for, the run's own first."""
    known = {name for v in done for name in v.estimates if estimated(v, name, "latency_ms") is not None}
    return [own, *sorted(known - {own}, key=w.device)]


def _open() -> None:
    """Makes the variant that was clicked on the one shown in detail."""
    points = st.session_state["trade-off"]["selection"]["points"]
    if points:
        st.session_state["variant"] = points[0]["customdata"][1]
        st.session_state["opened"] = True
