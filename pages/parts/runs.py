"""Runs in a list, and the lines of a run that is at work."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.run.view import RunView, TechniqueView
from engine.visitors import kept_until
from engine.vocabulary import Variant
from pages.parts import wording as w

STATES = {
    "queued": (":material/schedule:", "waiting", "gray"),
    "running": (":material/progress_activity:", "running", "blue"),
    "done": (":material/check_circle:", "done", "green"),
    "failed": (":material/error:", "failed", "red"),
    "cancelled": (":material/cancel:", "cancelled", "orange"),
}
LINES = {
    "waiting": (":material/schedule:", "waiting"),
    "working": (":material/progress_activity:", "working"),
    "done": (":material/check_circle:", "done"),
    "failed": (":material/error:", "failed"),
    "skipped": (":material/do_not_disturb_on:", "skipped"),
}
LINES_OF_ENDED = {
    "waiting": (":material/remove:", "not started"),
    "working": (":material/stop_circle:", "stopped"),
}


def page_for(state: str) -> tuple[str, str]:
    """Returns the page on which a run in this state is best looked at, and the words of its link."""
    return ("pages/compare.py", "Compare") if state == "done" else ("pages/run.py", "Open")


def show_row(row: dict) -> DeltaGenerator:
    """Shows one run of the index as a line: state, model, device, age, and the link to it; returns the line
    for more.
    """
    icon, word, colour = STATES[row["state"]]
    line = st.container(border=True, horizontal=True, vertical_alignment="center", key=f"row-{row['id']}")
    with line:
        st.badge(word, icon=icon, color=colour)
        won = f" · {w.code(row['winner'])}" if row["winner"] else ""
        named = f"**{w.plain(row['title'])}** · " if row["title"] else ""
        tags = "".join(f" · #{w.plain(tag)}" for tag in row["tags"].split(", ") if tag)
        model = w.plain(row["model"]) if named else f"**{w.plain(row['model'])}**"
        st.markdown(
            f"{named}{model} · {w.device(row['device'])} · {row['goal']}{won}  \n"
            f"<small>{w.when(row['created'])}{tags}</small>",
            unsafe_allow_html=True,
            width="stretch",
        )
        if (until := kept_until(row)) is not None:
            st.caption(f"kept until {w.day(until)}")
        page, label = page_for(row["state"])
        st.page_link(page, label=label, icon=":material/arrow_forward:", query_params={"run": row["id"]})
    return line


def show_progress(view: RunView) -> None:
    """Shows how far the whole run is, in a bar and in words."""
    icon, word, colour = STATES[view.state]
    words = [f"{100 * view.fraction:.0f}{w.NBSP}%", f"{w.duration(view.elapsed_s)} so far"]
    if view.state == "queued":
        place = view.queue_place or 1
        words = ["next to start" if place == 1 else f"number {place} in the queue"]
    elif view.state == "running" and view.remaining_s is not None:
        words.append(f"{w.about(view.remaining_s)} left")
    elif view.state != "running":
        words = [f"{w.duration(view.elapsed_s)} in all"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(word, icon=icon, color=colour)
        st.markdown(" · ".join(words))
    if view.state in ("queued", "running"):
        st.progress(min(1.0, view.fraction))


def show_line(line: TechniqueView, baseline: Variant | None, is_ended: bool) -> None:
    """Shows one technique: where it stands, how long it took, and what it made."""
    icon, word = LINES_OF_ENDED.get(line.status, LINES[line.status]) if is_ended else LINES[line.status]
    if line.status == "waiting":
        st.markdown(f"{icon} **{w.plain(line.title)}** · {word}")
        return
    name, rest = st.columns([5, 7], gap="small")
    with name:
        time = w.duration(line.elapsed_s) if line.status in ("done", "failed", "working") else ""
        if line.remaining_s is not None and line.status == "working" and not is_ended:
            time += f", {w.about(line.remaining_s)} left"
        st.markdown(f"{icon} **{w.plain(line.title)}** · {word}" + (f" · {time}" if time else ""))
    with rest:
        if line.status == "working" and not is_ended:
            st.progress(min(1.0, line.fraction), text=w.plain(line.text) or None)
        if line.reason:
            st.markdown(f"{line.title} {word}: {w.plain(line.reason)}")
        if line.variants:
            st.markdown(
                "  \n".join(
                    f"{w.code(variant.id)} {_figures(variant, baseline)}" for variant in line.variants
                )
            )


def _figures(variant: Variant, baseline: Variant | None) -> str:
    if variant.status != "done":
        return f"{variant.status}: {w.plain(variant.reason)}"
    words = [w.size(variant.size_bytes)]
    if baseline and baseline.size_bytes and variant.size_bytes and variant.id != "baseline":
        ratio = baseline.size_bytes / variant.size_bytes
        words[0] += f" ({w.times(ratio)} smaller)" if ratio > 1.05 else ""
    if (
        variant.compressed_bytes
        and variant.size_bytes
        and variant.compressed_bytes < 0.8 * variant.size_bytes
    ):
        words[0] += f", {w.size(variant.compressed_bytes)} zipped"
    if variant.accuracy is not None:
        words.append(w.percent(variant.accuracy, 0, 0))
    latency = w.measured(variant)
    return " · ".join([*words, w.ms(latency) if latency else "not timed yet"])
