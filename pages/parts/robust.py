"""How accurate variants stay on pictures that are dark, blurred, noisy, shifted or turned."""

import streamlit as st

from engine.errors import EdgewiseError
from engine.run.robustness import measure_robustness, robustness_of
from engine.store.workspace import Workspace
from engine.vocabulary import Robustness, Run
from pages.parts import charts, session
from pages.parts import wording as w


@st.fragment
def show(run: Run, picked: str, home: Workspace) -> None:
    """Offers to measure the baseline, what is recommended and the variant that is looked at; shows what is
    known.
    """
    if run.experiment.dataset is None:
        st.caption("Not measured: the run had no labelled images.")
        return
    known = robustness_of(run.id, home)
    missing = [name for name in dict.fromkeys(["baseline", *_recommended(run), picked]) if name not in known]
    missing = [v.id for v in run.variants if v.id in missing and v.status == "done" and v.artifacts]
    if missing and st.button(
        "Measure robustness",
        icon=":material/foggy:",
        help="Up to 500 test images, seven kinds of damage at three severities, on the files themselves."
        f" Still to measure: {', '.join(missing)}.",
    ):
        with st.status("Measuring behind the wall…") as status:
            try:
                known = measure_robustness(
                    run.id, home, missing, lambda fraction, text: status.update(label=f"Measuring: {text}")
                )
            except EdgewiseError as error:
                status.update(label="It was not measured", state="error")
                session.show_error(error)
                return
        st.rerun()
    if not known:
        st.caption("Not measured yet: a small model may fail first where light and lenses are worse.")
        return
    figure, alt = charts.robustness(known)
    st.plotly_chart(figure, theme=None, config=charts.CONFIG, alt=alt, key="robustness")
    st.dataframe(_table(known), hide_index=True, height="content", alt="Accuracy by kind of damage.")
    images = next(iter(known.values())).images
    st.caption(f"Accuracy in percent, by kind the mean of three severities; {images:,} test images.")


def _recommended(run: Run) -> list[str]:
    choice = run.recommendation
    return [name for name in (choice.winner or choice.nearest,) if name] if choice else []


def _table(known: dict[str, Robustness]) -> list[dict[str, object]]:
    """Returns a row a variant: accuracy as the images are, and by kind of damage."""
    rows: list[dict[str, object]] = []
    for name, found in known.items():
        kinds = {
            kind.capitalize().replace("Jpeg", "JPEG"): sum(row) / len(row)
            for kind, row in found.corrupted.items()
        }
        figures = {"As they are": found.clean, "Damaged, mean": found.mean(), **kinds}
        rows.append({"Variant": w.cell(name)} | {key: round(100 * v, 1) for key, v in figures.items()})
    return rows
