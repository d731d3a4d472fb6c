"""How long the server works on a poll of the run page, and on a change on the compare page.

`python -m benchmarks.app_latency`: a run with 60 variants is written as a worker writes it; then the run
page's poll is timed, what it reads of the workspace and all that the page does, and on the compare page a
limit that is typed, one whose line is moved, and a changed axis. All in one process (no browser, no network).
A browser has only the part of the compare page drawn anew that changes; here it is the whole page, so its
figures are upper bounds.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count, cycle
from pathlib import Path

import streamlit
from streamlit.testing.v1 import AppTest

from benchmarks import record
from engine import events
from engine.formats.inspect import inspect_model
from engine.judge.estimates import estimates_for
from engine.run import jobs
from engine.run.view import view_of
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Artifact, Experiment, Host, Latency, Step, Variant
from engine.wall.processes import identity
from estimator.profile.graph import profile

ROOT = Path(__file__).resolve().parent.parent
VARIANTS, POLLS = 60, 50
PROGRESS = 20  # events of progress that a variant leaves in the log
POLL_MS, CHANGE_MS = 30, 300
MODEL = "digits/pytorch/small"
COLUMNS = ["what", "median ms", "95th percentile ms"]


def written_run(workspace: Workspace, variants: int) -> str:
    """Writes a run that is at work, with this process as its worker and so many variants; returns its id."""
    model = inspect_model(MODEL)
    experiment = Experiment(
        model=model, dataset="digits", device="raspberry_pi_4", techniques=list(TECHNIQUES)
    )
    run_id = workspace.create(experiment)
    workspace.append(run_id, events.StateChanged(state="running"))
    workspace.append(run_id, events.ProcessStarted(**identity(os.getpid()), what="worker"))
    workspace.append(run_id, events.PlanMade(seconds=dict.fromkeys(TECHNIQUES, 30.0)))
    estimates = estimates_for(profile(model_file()), {})
    names = list(TECHNIQUES)
    for number in range(variants):
        name = "baseline" if number == 0 else names[number % len(names)]
        variant_id = name if number < len(names) else f"{name}@{number}"
        workspace.append(run_id, events.LineChanged(technique=name, status="working"))
        for done in range(PROGRESS):
            text = f"{variant_id}: fine-tuning, {done / PROGRESS:.0%} of 400 steps"
            workspace.append(
                run_id,
                events.ProgressMade(technique=name, fraction=done / PROGRESS, text=text, remaining_s=9),
            )
        workspace.append(run_id, events.Logged(technique=name, text=f"{variant_id}: 400 steps of 64 in 9 s"))
        workspace.write_variant(run_id, written_variant(variant_id, name, estimates))
        workspace.append(run_id, events.VariantWritten(technique=name, variant=variant_id))
        workspace.append(run_id, events.LineChanged(technique=name, status="done"))
    workspace.append(run_id, events.LineChanged(technique=names[0], status="working"))
    return run_id


def model_file() -> Path:
    """Writes a small ONNX network, for the estimates that every variant carries, and returns its path."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = [
        numpy_helper.from_array(np.ones((8, 1, 3, 3), np.float32), "w"),
        numpy_helper.from_array(np.ones((8 * 26 * 26, 10), np.float32), "d"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    path = Path(tempfile.mkdtemp()) / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


def written_variant(variant_id: str, technique: str, estimates: dict) -> Variant:
    """Returns a variant as a finished run on ten classes holds it."""
    step = Step(
        what="fine_tune", parameters=dict.fromkeys("abcdefghij", 0.125), why="What was lost comes back."
    )
    return Variant(
        id=variant_id,
        technique=technique,
        status="done",
        seconds=9.0,
        accuracy=0.97,
        accuracy_low=0.95,
        accuracy_high=0.98,
        accuracy_drop_pp=0.3,
        p_value=0.4,
        worst_class_recall=0.9,
        per_class_recall=[0.97] * 10,
        confusion=[[4] * 10] * 10,
        test_images=360,
        validation_accuracy=0.97,
        size_bytes=50_000,
        compressed_bytes=40_000,
        parameters=27_000,
        nonzero_parameters=27_000,
        macs=1_000_000,
        sparsity=0.0,
        host=Host(
            runtime="onnxruntime",
            runtime_version="1",
            threads=1,
            latency_ms=Latency(p50=0.1, p95=0.2, p99=0.3),
            throughput_per_s=9_000.0,
            peak_memory_bytes=60_000_000,
        ),
        estimates=estimates,
        artifacts=[
            Artifact(path=f"artifacts/{variant_id}/model.onnx", format="onnx", bytes=50_000, sha256="0" * 64)
        ],
        steps=[step] * 8,
        notes=["It was made for a benchmark."],
        admissible="yes",
    )


def timed(act: Callable[[], object], times: int) -> list[float]:
    """Returns the milliseconds of each of `times` calls."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - began))
    return found


def row(what: str, ms: list[float]) -> list:
    """Returns a table row: median and 95th percentile."""
    return [what, statistics.median(ms), statistics.quantiles(ms, n=20)[-1]]


def open_page(run_id: str, name: str) -> AppTest:
    """Opens a page in this process, as the server does for a browser."""
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    page.query_params["run"] = run_id
    page.switch_page(f"pages/{name}.py")
    page.run()
    if page.exception:
        raise SystemExit(f"The page {name} failed: {page.exception[0].message}")
    return page


def polled(run_id: str, times: int) -> tuple[list[float], list[float]]:
    """Returns the milliseconds that the part of the run page takes that a browser polls, and those of the
    whole page.
    """
    page, polls, fragment = open_page(run_id, "run"), [], streamlit.fragment

    def timing(run_every: float | None) -> Callable:
        def of(function: Callable) -> Callable:
            def call(*given: object) -> None:
                polls.extend(timed(lambda: function(*given), 1) if function.__name__ == "watch" else [])

            return call

        return of

    streamlit.fragment = timing
    try:
        page.run()
        polls.clear()
        whole = timed(page.run, times)
    finally:
        streamlit.fragment = fragment
    return polls, whole


def changes(page: AppTest, times: int) -> tuple[list[float], list[float], list[float]]:
    """Returns the milliseconds that changes of a limit take on the compare page, typed and by moving its
    line, and changes of the axis.
    """
    limit = next(field for field in page.text_input if field.key == "try_max_size_mb")
    sizes, drops, axes = count(1), cycle((0.27, 0.33, 0.3)), cycle(("measured", "size", "macs"))
    return (
        timed(lambda: limit.set_value(f"{next(sizes) / 1000:g}").run(), times),
        timed(
            lambda: page.select_slider(key="line_max_accuracy_drop_pp").set_value(next(drops)).run(), times
        ),
        timed(lambda: page.selectbox(key="x").set_value(next(axes)).run(), times),
    )


def main() -> None:
    """Writes the run, times its polls, records what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=VARIANTS)
    parser.add_argument("--polls", type=int, default=POLLS)
    given = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as home:
        os.environ["EDGEWISE_HOME"] = home
        workspace = Workspace()
        run_id = written_run(workspace, given.variants)

        def poll(place: Workspace) -> None:
            jobs.tick(place)
            view_of(run_id, place)

        first = timed(lambda: poll(Workspace()), given.polls)
        again = timed(lambda: poll(workspace), given.polls)
        polls, whole = polled(run_id, given.polls)
        workspace.append(run_id, events.StateChanged(state="done"))
        limit, line, axis = changes(open_page(run_id, "compare"), given.polls)
    rows = [
        row("reading a run that was not read before", first),
        row("a poll's reading: queue, log and variants", again),
        row("a poll: reading, and drawing what is at work", polls),
        row("the whole run page, once a line settles", whole),
        row("compare page, a changed limit: judging and drawing all of it", limit),
        row("compare page, a moved line: the same", line),
        row("compare page, a changed axis: drawing all of it", axis),
    ]
    poll_ms, change_ms = rows[2][1], max(row[1] for row in rows[4:])
    record.write(
        "app_latency",
        f"Server time of the run page and the compare page, {given.variants} variants",
        COLUMNS,
        rows,
        [
            {
                "target": f"a poll ≤ {POLL_MS} ms",
                "figure": f"{poll_ms:.1f} ms",
                "met": poll_ms <= POLL_MS,
            },
            {
                "target": f"compare page: a changed limit, line or axis ≤ {CHANGE_MS} ms",
                "figure": f"{change_ms:.0f} ms",
                "met": change_ms <= CHANGE_MS,
            },
        ],
        load_before=load,
    )
    for line in rows:
        print(f"{line[1]:8.1f} ms  {line[2]:8.1f} ms  {line[0]}")


if __name__ == "__main__":
    main()
