"""The pruning study: single weights and whole channels, at once and step by step, over the share gone."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from engine.judge.pruning import KINDS, Pruned, paired_ends, study
from engine.techniques import TECHNIQUES
from engine.vocabulary import Constraints, Experiment, Variant
from pages.parts import charts, lines, plan, run_menu, tables
from pages.parts import wording as w

FIGURES = ("accuracy", "size", "compressed", "latency", "measured", "macs")


def show(judged: list[Variant], asked: Experiment, tried: Constraints) -> None:
    """Draws one figure of the pruned variants over the share that is gone, with a table below; offers what is
    missing of the study.
    """
    found = study(judged)
    baseline = next((v for v in judged if v.id == "baseline" and v.status == "done"), None)
    if found and baseline:
        _draw(found, baseline, judged, asked, tried)
    elif not found:
        st.write("No variant of this run was pruned and nothing else, so there is no study to show.")
    missing = [name for name in KINDS if name not in asked.techniques]
    if missing:
        _offer(missing, asked)


def _draw(
    found: list[Pruned], baseline: Variant, judged: list[Variant], asked: Experiment, tried: Constraints
) -> None:
    axes = charts.axes(asked.device, asked.device)
    axes["accuracy"] = replace(axes["accuracy"], ends=lambda v: paired_ends(v, baseline))
    known = [name for name in FIGURES if any(axes[name].value(one.variant) is not None for one in found)]
    if known:
        name = st.selectbox(
            "Upwards",
            known,
            format_func=lambda name: axes[name].title,
            key="study",
            bind="query-params",
            width=300,
        )
        figure, alt, notes = charts.pruning(found, baseline, axes[name], tried.set_limits())
        st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="pruning")
        lines.show([axes[name]], judged, asked, tried)
        about = {
            "accuracy": "Bars are the 95 % interval of the drop, paired image by image with your model.",
            "latency": "Bars hold 90 % of predictions.",
        }
        st.caption(" ".join([about.get(name, ""), *notes]).strip() or "Your model is the dotted line.")
    st.dataframe(
        table(found, asked.device),
        hide_index=True,
        height="content",
        placeholder=w.NONE,
        alt=f"Table of {len(found)} pruned variants by what went, how, and how much.",
        column_config={
            name: st.column_config.NumberColumn(format=form, help=words)
            for name, form, words in (
                ("Gone (%)", "%.0f", "Of the weights, or of the channels that can go."),
                ("Accuracy (%)", "%.2f", "On test images that chose nothing."),
                ("Drop (pp)", "%.2f", "Percentage points lost against your model."),
                ("Size (kB)", "localized", "Bytes of the file: zeros take as many as other weights."),
                ("Zipped (kB)", "localized", "The file compressed: zeros show here."),
                ("Measured (ms)", "%.3f", "Median on this machine."),
            )
        },
    )
    st.caption(
        "Weights: single ones become zero, wherever they are (unstructured). Channels: whole ones go, so that"
        " the network is smaller and faster everywhere (structured). Step by step: with training in between"
        " (iterative), else all at once (one-shot)."
    )


def table(found: list[Pruned], device: str) -> pd.DataFrame:
    """Returns a row a pruned variant; figures are numbers, so that the table sorts them."""
    return pd.DataFrame(
        [
            {
                "Pruned": one.kind,
                "How": one.way,
                "Gone (%)": 100 * one.share,
                "Accuracy (%)": None if v.accuracy is None else 100 * v.accuracy,
                "Drop (pp)": v.accuracy_drop_pp,
                "95 % interval": w.interval(v.accuracy_drop_low_pp, v.accuracy_drop_high_pp, 1, 2).replace(
                    "–", " to "
                )
                or w.NONE,
                "Size (kB)": v.size_bytes and v.size_bytes / 1e3,
                "Zipped (kB)": v.compressed_bytes and v.compressed_bytes / 1e3,
                "Estimated on device": w.estimate(v.estimates.get(device)) if v.status == "done" else w.NONE,
                "Measured (ms)": w.measured(v),
                "Limits": tables.standing(v),
                "Reason": w.cell(v.reason or w.misses(v)),
            }
            for one in found
            for v in (one.variant,)
        ]
    )


def _offer(missing: list[str], asked: Experiment) -> None:
    """Offers a run that makes the whole study, or says why none can."""
    refused = {name: plan.why_not(name, asked.model, asked.dataset) for name in KINDS}
    if all(refused.values()):
        st.caption(w.plain(f"This model can't be pruned. {next(iter(refused.values()))}"))
        return
    names = w.listing(f"“{TECHNIQUES[name].title}”" for name in missing)
    st.caption(
        f"A run with {names} makes the whole study: both ways, at three shares and more, on the same images."
    )
    if st.button(
        "Set up the pruning study",
        icon=":material/content_cut:",
        help="Opens the configuration with your model, your limits and only these techniques.",
    ):
        run_menu.try_now(lambda: run_menu.repeat(asked.model_copy(update={"techniques": list(KINDS)})))
