"""Which images a variant answers alone, and which go to a person."""

import streamlit as st

from engine.judge import trust
from engine.vocabulary import Answered, Variant
from pages.parts import charts
from pages.parts import wording as w


@st.fragment
def show(variant: Variant) -> None:
    """Asks how right its own answers must be, and says below which confidence a person is asked for that."""
    if not variant.answered:
        st.caption("Not measured: there were no labelled images, or an earlier version made this run.")
        return
    most = 100 * max(p.validation_accuracy or 0.0 for p in variant.answered)
    wanted = st.number_input(
        "What it answers alone must be right, at least (%)",
        0.0,
        100.0,
        min(round(most, 1), 99.5),
        0.1,
        key="alone",
        width=340,
        help="The confidence is chosen on validation images; what it does is measured on test images.",
    )
    point = trust.threshold(variant.answered, wanted / 100)
    if point is None:
        words = f"No confidence reaches {wanted:g}{w.NBSP}% on validation images: the most is"
        st.warning(f"{words} {most:.1f}{w.NBSP}%.", icon=":material/warning:")
    else:
        st.markdown(_words(point))
    figure, alt = charts.answered(variant.answered, point)
    st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="answered")
    if variant.calibration_error is not None:
        off = w.percent(variant.calibration_error)
        st.caption(f"Its confidence is off by {off} on average (expected calibration error, test images).")


def _words(point: Answered) -> str:
    """Returns what a threshold does, in a sentence of markdown."""
    right, alone = w.percent(point.test_accuracy), w.percent(point.test_share)
    if point.confidence == 0:
        return f"It may answer everything alone: on test images **{right}** of its answers are right."
    return (
        f"Below a confidence of **{point.confidence:.2f}** ask a person: it answers"
        f" **{alone}** of the test images alone, and {right} of these answers are right."
        f" On the device: {w.code(f'--min-confidence {point.confidence:.3f}')}"
    )
