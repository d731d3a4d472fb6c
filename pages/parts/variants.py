"""Variants: the recommended one, all in a table, one in detail."""

import numpy as np
import streamlit as st

from engine.judge import measure
from engine.judge import words as judge_words
from engine.techniques import TECHNIQUES, title_of
from engine.vocabulary import Recommendation, Run, Variant
from pages.parts import charts, person
from pages.parts import wording as w

PICKS = {"quality": "most accurate on validation images", "balanced": "balanced", "compact": "smallest"}


def in_order(found: list[Variant]) -> list[Variant]:
    """Returns the variants with the baseline first, then technique by technique, however they were
    finished.
    """
    order = ["baseline", *TECHNIQUES]
    return sorted(found, key=lambda v: order.index(v.technique) if v.technique in order else len(order))


def show_recommendation(chosen: Recommendation, run: Run, baseline: Variant) -> None:
    """Shows the choice in words, its three figures, why it won and what would flip it."""
    device = run.experiment.device
    by_id = {v.id: v for v in run.variants}
    best = by_id.get(chosen.winner or chosen.nearest or "")
    with st.container(border=True):
        if best is None:
            st.header(":material/info: Nothing can be recommended")
            st.write("No variant was measured. The table below says why each one failed.")
            return
        words, figures = st.columns([6, 5], gap="medium")
        with words:
            _show_words(chosen, best, baseline, device)
        with figures:
            show_metrics(best, baseline, device, is_short=True)
            if st.button("Make the package", type="primary", icon=":material/package_2:", width="stretch"):
                st.switch_page("pages/deploy.py", query_params={"run": run.id, "package": best.id})


def _show_words(chosen: Recommendation, best: Variant, baseline: Variant, device: str) -> None:
    if chosen.winner:
        st.header(f":material/verified: Recommended: {w.plain(title_of(best.id))}")
        st.markdown(f"{w.code(best.id)} {w.verdict(best, baseline, device)}")
    else:
        st.header(":material/warning: Nothing meets every limit")
        st.markdown(
            f"The nearest is {w.code(best.id)}: it {w.misses(best) or 'was not judged'}. "
            + w.verdict(best, baseline, device)
        )
    # the first reason says what the verdict says
    reasons = [w.plain(reason) for reason in chosen.reasons[1:]]
    st.markdown(
        "\n".join(f"- {line}" for line in [*reasons, *(w.plain(flip.text) for flip in chosen.flips[:4])])
    )
    picks: dict[str, list[str]] = {}
    for name, words in PICKS.items():
        if chosen.picks.get(name):
            picks.setdefault(chosen.picks[name], []).append(words)
    if picks:
        named = " · ".join(f"{w.code(pick)} {w.listing(words)}" for pick, words in picks.items())
        st.caption(f"Best picks within your limits: {named}")


def show_metrics(best: Variant, baseline: Variant, device: str, is_short: bool = False) -> None:
    """Shows size, latency and accuracy side by side, each with its change against the baseline.

    What a prediction rests on takes some sentences: a short one leaves them to the latency's help.
    """
    found, theirs = best.estimates.get(device), baseline.estimates.get(device)
    is_estimate = bool(found and found.latency_ms)
    latency, before = (
        (found.latency_ms, theirs.latency_ms if theirs else None)
        if is_estimate
        else (w.measured(best), w.measured(baseline))
    )
    is_same = judge_words.is_noise(best)
    with st.container(horizontal=True, gap="small"):
        st.metric(
            "Size",
            w.size(best.size_bytes),
            _change(baseline.size_bytes, best.size_bytes),
            delta_color="inverse",
            width="content",
        )
        st.metric(
            "Latency",
            w.ms(latency),
            _change(before, latency),
            delta_color="inverse",
            width="content",
            help=_latency_help(best, device),
        )
        # an ASCII minus: Streamlit takes a typographic one for a rise
        st.metric(
            "Accuracy",
            w.percent(best.accuracy, 0, 0),
            f"{-(best.accuracy_drop_pp or 0):+.2f} pp" if best.id != "baseline" else None,
            delta_color="off" if is_same else "normal",
            delta_arrow="off" if is_same else "auto",
            width="content",
            help=_accuracy_help(best),
        )
    st.caption(_latency_words(best, device, is_short))


def _accuracy_help(variant: Variant) -> str:
    accuracy = w.interval(variant.accuracy_low, variant.accuracy_high, 100, 1)
    low, high = variant.accuracy_drop_low_pp, variant.accuracy_drop_high_pp
    lost = ""
    if low is not None and high is not None and variant.id != "baseline":
        lost = f"; of the change, paired image by image, {-high:+.2f} to {-low:+.2f}{w.NBSP}pp"
    return f"95 % interval {accuracy} %{lost}" if accuracy else "not measured"


def _change(before: float | None, after: float | None) -> str | None:
    if not before or not after or before == after:
        return None
    return f"{100 * (after / before - 1):+.1f} %"


def _latency_words(best: Variant, device: str, is_short: bool) -> str:
    found = best.estimates.get(device)
    if not found:
        return f"On {w.device(device)}: no estimate yet. The latency was measured on this machine."
    if found.latency_ms is None:
        return (
            f"On {w.device(device)}: no prediction. {w.plain(found.why)} The latency was measured on this"
            " machine."
        )
    costs = [w.estimate(found), w.confidence(found)]
    costs += [f"{w.with_unit(found.memory_mb, 'MB')} of memory"] if found.memory_mb else []
    costs += [f"{w.with_unit(found.energy_mj, 'mJ')} an image"] if found.energy_mj else []
    words = [
        f"Predicted for {w.device(device)}, {w.runs_on(found)}: {', '.join(costs)}.",
        "" if is_short else w.plain(found.why),
    ]
    if found.calibrated_with:
        words.append(f"Calibrated with {found.calibrated_with} of your measurements.")
    return " ".join(word for word in words if word)


def _latency_help(best: Variant, device: str) -> str:
    host, found = best.host, best.estimates.get(device)
    why = f"{w.plain(found.why)}  \n" if found and found.why else ""
    if not host or not host.latency_ms:
        return f"{why}Not measured."
    return (
        f"{why}Measured on this machine with {host.runtime} {host.runtime_version}, {host.threads} threads: "
        f"{w.ms(host.latency_ms.p50)} (p95 {w.ms(host.latency_ms.p95)}, p99 {w.ms(host.latency_ms.p99)})."
    )


def show_details(variant: Variant, baseline: Variant, classes: list[str], device: str) -> None:
    """Shows one variant: its figures, recall by class, what it confuses, how it was made, its files."""
    if variant.status != "done":
        st.warning(
            f"{w.code(variant.id)} {variant.status}: {w.plain(variant.reason)}", icon=":material/error:"
        )
        return
    show_metrics(variant, baseline, device)
    recall, confusion, alone, steps, files = st.tabs(
        ["Recall by class", "Confusion", "Ask a person", "Steps", "Files"]
    )
    with recall:
        if _recalls(variant):
            figure, alt = charts.recall(classes, _recalls(variant), _recalls(baseline))
            st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="recall")
        else:
            st.caption("Not measured: there were no labelled test images.")
    with confusion:
        if variant.confusion:
            figure, alt = charts.confusion(classes, variant.confusion)
            st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="confusion")
        else:
            st.caption("Not measured: there were no labelled test images.")
    with alone:
        person.show(variant)
    with steps:
        _show_steps(variant)
    with files:
        for artifact in variant.artifacts:
            st.markdown(
                f"{w.code(artifact.path)} · {w.size(artifact.bytes)} · {w.plain(artifact.format)}  \n"
                f"SHA-256 {w.code(artifact.sha256[:16])}…"
            )
        if variant.versions:
            st.caption(
                " · ".join(
                    f"{w.plain(name)} {w.plain(version)}" for name, version in variant.versions.items()
                )
            )


def _recalls(variant: Variant) -> list[float | None]:
    """Returns recall by class from the counts: earlier versions left classes without images out of theirs."""
    if not variant.confusion:
        return variant.per_class_recall
    return measure.recall_by_class(np.asarray(variant.confusion))


def _show_steps(variant: Variant) -> None:
    for count, step in enumerate(variant.steps, 1):
        settings = ", ".join(f"{name} {value}" for name, value in step.parameters.items())
        st.markdown(
            f"{count}. **{w.plain(step.what)}**"
            + (f" ({w.plain(settings)})" if settings else "")
            + f": {w.plain(step.why)}"
        )
    for note in variant.notes:
        st.markdown(f":material/info: {w.plain(note)}")
    if not variant.steps:
        st.caption("Exported as it is.")
