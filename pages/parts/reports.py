"""The report of a run, to carry away."""

import streamlit as st

from deploy import report
from engine.store.workspace import Workspace
from engine.vocabulary import Run

HTML_HELP = (
    "One HTML file that opens offline and prints on A4: question, answer, reasons, what was measured and"
    " what is predicted, steps and sums."
)
FORMS = (
    ("Report for those who decide", report.html, "html", "text/html", ":material/description:", HTML_HELP),
    ("As Markdown", report.markdown, "md", "text/markdown", ":material/markdown:", None),
)


def offer(run: Run, home: Workspace) -> None:
    """Offers the report of a run that has a recommendation; it is written when somebody takes it."""
    with st.container(horizontal=True):
        for label, made, ending, kind, icon, help in FORMS:
            st.download_button(
                label,
                lambda made=made: made(*report.material(run.id, home)),
                f"edgewise-report-{run.id}.{ending}",
                kind,
                icon=icon,
                on_click="ignore",
                help=help,
            )
