"""The report of a run, to carry away."""

import streamlit as st

from deploy import report
from engine.run.robustness import robustness_of
from engine.store.workspace import Workspace
from engine.vocabulary import Run


def offer(run: Run, home: Workspace) -> None:
    """Offers the report of a run that has a recommendation; it is written when somebody takes it."""
    name = f"edgewise-report-{run.id}"
    with st.container(horizontal=True):
        st.download_button(
            "Report for those who decide",
            lambda: report.html(run, robustness_of(run.id, home)),
            f"{name}.html",
            "text/html",
            icon=":material/description:",
            on_click="ignore",
            help="One HTML file that opens offline and prints on A4: question, answer, reasons, what was"
            " measured and what is predicted, steps and sums.",
        )
        st.download_button(
            "As Markdown",
            lambda: report.markdown(run, robustness_of(run.id, home)),
            f"{name}.md",
            "text/markdown",
            icon=":material/markdown:",
            on_click="ignore",
        )
