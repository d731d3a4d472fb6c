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
    _, point = _wanted(variant, "alone")
    if point is not None:
        st.markdown(_words(point))
    figure, alt = charts.answered(variant.answered, point)
    st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="answered")
    if variant.calibration_error is not None:
        off = w.percent(variant.calibration_error)
        st.caption(f"Its confidence is off by {off} on average (expected calibration error, test images).")


def choose(variant: Variant) -> tuple[float | None, bool]:
    """Asks whether a package shall ask a person, and how right its own answers must be then; returns that as
    a fraction, None for never, and whether some confidence gives it.
    """
    if not variant.answered:
        return None, True
    asks = st.segmented_control(
        "Ask a person",
        ["Never", "Below a confidence"],
        default="Never",
        required=True,
        key="asks",
        help='Where it is less sure the package answers "unsure", so that somebody looks at the picture.',
    )
    if asks == "Never":
        return None, True
    wanted, point = _wanted(variant, "package_alone")
    if point is not None:
        st.markdown(_words(point, "In the package"))
    return wanted / 100, point is not None


def _wanted(variant: Variant, key: str) -> tuple[float, Answered | None]:
    """Asks how right its own answers must be (%); returns that and the point that gives it, or says that none
    does.
    """
    most = 100 * max(p.validation_accuracy or 0.0 for p in variant.answered)
    wanted = st.number_input(
        "What it answers alone must be right, at least (%)",
        0.0,
        100.0,
        min(round(most, 1), 99.5),
        0.1,
        key=key,
        width=340,
        help="The confidence is chosen on validation images; what it does is measured on test images.",
    )
    point = trust.threshold(variant.answered, wanted / 100)
    if point is None:
        words = f"No confidence reaches {wanted:g}{w.NBSP}% on validation images: the most is"
        st.warning(f"{words} {most:.1f}{w.NBSP}%.", icon=":material/warning:")
    return wanted, point


def _words(point: Answered, where: str = "On the device") -> str:
    """Returns what a threshold does, in a sentence of markdown."""
    right, alone = w.percent(point.test_accuracy), w.percent(point.test_share)
    if point.confidence == 0:
        return f"It may answer everything alone: on test images **{right}** of its answers are right."
    return (
        f"Below a confidence of **{trust.typed(point)}** ask a person: it answers"
        f" **{alone}** of the test images alone, and {right} of these answers are right."
        f" {where}: {w.code(f'--min-confidence {trust.typed(point)}')}"
    )
