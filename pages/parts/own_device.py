"""A run on the user's own device: the one command that measures it there, and what came back."""

from urllib.parse import urlsplit

import pandas as pd
import streamlit as st

from engine.host import has_api
from engine.run.on_board import OnBoard, on_board
from engine.store import boards
from engine.store.boards import Measured
from engine.store.workspace import Workspace
from engine.vocabulary import Run
from estimator.devices import all_devices
from pages.parts import wording as w

LOCAL = ("localhost", "127.0.0.1", "::1")
LOOK_S = 3  # between two looks at what a device has sent


def warn(board: OnBoard) -> None:
    """Says first of all which variants give wrong answers on the device."""
    if wrong := [f"{w.code(id)} ({why})" for id, why in board.wrong().items()]:
        st.error(
            f"**Wrong answers on {w.plain(board.name)}:** {w.listing(wrong)}. Deploy none of these"
            " there before `verify.py` of its package finds them right.",
            icon=":material/error:",
        )


def follow(shown: OnBoard, run_id: str, home: Workspace) -> None:
    """Draws the page anew when more comes from a device than is shown."""

    def look() -> None:
        if boards.measured(run_id, home) != shown.found:
            st.rerun()

    if boards.is_awaited(run_id, home):
        st.fragment(look, run_every=LOOK_S)()


def offer(run: Run, home: Workspace) -> None:
    """Shows the command that measures a run on the user's device, and what has come from there."""
    device = all_devices().get(run.experiment.device)
    if device is None or device.family == "microcontroller":  # which has no Python
        return
    st.header("Measure on your own device")
    if not has_api():
        st.caption(
            "A board can't ask this server, which was started as `app.py` alone: that takes `server.py`, as"
            " `make app` and the Docker image start it. `benchmark.py` of the package measures by hand."
        )
        return
    st.write(
        "One command on the board fetches the packages of this run, shows that each variant answers as it did"
        " here, times all of them in turns and sends the times back. They stand beside the predictions on the"
        f" compare page, and correct them where the board is a {device.name}."
    )
    key = f"board_token-{run.id}"
    token = st.session_state.get(key)
    if token and boards.run_of(token, home) is None:
        token = None  # it was used, or another took its place
    if token is None and st.button("Get the command", icon=":material/terminal:"):
        st.session_state[key] = boards.give(run.id, home)
        st.rerun()
    if token:
        server = urlsplit(st.context.url or "http://localhost:8501")
        st.code(command(f"{server.scheme}://{server.netloc}", token), language="bash", wrap_lines=True)
        st.caption(
            "For this run and one board, within a day. It takes Python 3.6 or later, curl and python3-venv;"
            " everything goes into the folder `edgewise-board`."
            + (
                f" {server.hostname} is this machine alone: put the address that the board knows it by."
                if server.hostname in LOCAL
                else ""
            )
        )
    if token:
        st.fragment(_progress, run_every=LOOK_S)(run, home, token)
    else:
        _progress(run, home)


def command(server: str, token: str) -> str:
    """Returns what is typed on the board."""
    return (
        f"curl -fsS {server}/api/v1/board/agent.py -o edgewise_agent.py && "
        f"python3 edgewise_agent.py --server {server} --token {token}"
    )


def _progress(run: Run, home: Workspace, token: str = "") -> None:
    """Shows what has come from the board; at the end of its token the page is drawn anew."""
    if token and boards.run_of(token, home) is None:
        st.rerun()
    board = on_board(run.id, home)
    if not board.found:
        if token:
            st.caption("Nothing has come yet.")
        return
    warn(board)
    device = run.experiment.device
    has_energy = any(board.mj(id) for id in board.found)
    rows = [
        {
            "Variant": w.cell(v.id),
            "Answers": _answers(one),
            "Measured (ms)": board.ms(v.id),
            "Predicted": w.estimate(v.estimates.get(device)),
            **({"Energy (mJ)": board.mj(v.id)} if has_energy else {}),
            "Rounds": len(one.rounds),
        }
        for v in run.variants
        if (one := board.found.get(v.id))
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height="content",
        placeholder=w.NONE,
        alt=f"{len(rows)} variants as measured on your device.",
        column_config={
            "Measured (ms)": st.column_config.NumberColumn(format="%.3f"),
            "Energy (mJ)": st.column_config.NumberColumn(
                format="%.3f", help="While one inference ran, by the device's own sensor."
            ),
        },
    )
    st.caption(w.plain(board.how() or f"{board.name} is at work."))


def _answers(one: Measured) -> object:
    if one.reason:
        return w.cell(f"✗ {one.reason}")
    if one.answers is None:
        return w.NONE
    return f"{'✗' if one.is_wrong else '✓'} {one.answers.same_answers} of {one.answers.pictures} the same"
