"""A real scheduler and real workers on this machine: what they make, what becomes of a run when they die."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytest.importorskip("distributed", reason="it is not installed: pip install -r requirements/cluster.txt")

from engine.events import Logged
from engine.run import jobs
from engine.run.plan import pace_path
from engine.store.files import read_json
from engine.vocabulary import Pace

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 120.0
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


@contextmanager
def program(log: Path, *words: str):
    with log.open("wb") as output:
        started = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=output, stderr=output)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(30)


def until(found, what: str):
    """Returns what `found` returns as soon as that is something."""
    end = time.monotonic() + MOST_S
    while not (now := found()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return now


@pytest.fixture
def address(tmp_path):
    """A scheduler's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
    with program(tmp_path / "scheduler.log", "distributed.cli.dask_scheduler", *words):
        yield f"tcp://127.0.0.1:{port}"


@pytest.fixture
def workers(address, tmp_path):
    """Three of them, each by its address."""
    logs = [tmp_path / f"worker-{number}.log" for number in range(3)]

    def here(log: Path) -> str:
        lines = [line for line in log.read_text().splitlines() if line.startswith("At work for")]
        return lines[-1].split()[-1] if lines else ""

    with (
        program(logs[0], "engine", "worker", address) as first,
        program(logs[1], "engine", "worker", address) as second,
        program(logs[2], "engine", "worker", address) as third,
    ):
        places = [until(lambda log=log: here(log), log.read_text()) for log in logs]
        yield dict(zip(places, (first, second, third), strict=True))


@pytest.fixture
def begin(address, workspace, asked, monkeypatch):
    """Starts a run whose techniques go to the cluster; returns its id."""

    def start(**changes) -> str:
        monkeypatch.setenv("EDGEWISE_SCHEDULER", address)
        return jobs.start(asked(**changes), workspace)

    return start


def makers(workspace, run_id: str, technique: str) -> list[str]:
    """Returns the workers that began with a technique, in turn."""
    said = [e.text for e in workspace.events(run_id) if isinstance(e, Logged) and e.technique == technique]
    return [text.split()[-1] for text in said if text.split(" on ")[0].endswith(("made", "made again"))]


def test_a_cluster_makes_the_same_files_though_a_worker_is_killed(begin, workers, workspace, asked):
    chosen = {"techniques": ["fp16", "qat_int8"]}
    alone = jobs.start(asked(**chosen), workspace)
    jobs.wait(alone, workspace)
    pace = Pace.model_validate(read_json(pace_path(workspace.folder(alone))))
    run_id = begin(**chosen, pace=pace)
    place = until(lambda: makers(workspace, run_id, "qat_int8"), "nobody began")[0]
    workers[place].send_signal(signal.SIGKILL)
    jobs.wait(run_id, workspace)
    found = workspace.run(run_id)
    assert found.state == "done", found.reason
    assert len(set(makers(workspace, run_id, "qat_int8"))) == 2
    assert len(found.variants) == 4 and all(variant.host.interleaved for variant in found.variants)
    ours, theirs = (
        {variant.id: (variant.artifacts, variant.accuracy) for variant in workspace.variants(id)}
        for id in (run_id, alone)
    )
    assert ours == theirs


def test_what_loses_two_workers_fails_with_the_reason_and_cancel_reaches_the_third(begin, workers, workspace):
    run_id = begin(techniques=["fp16", "prune_structured"])
    for turn in range(2):
        began = until(lambda turn=turn: makers(workspace, run_id, "fp16")[turn:], "nobody began")
        workers[began[0]].send_signal(signal.SIGKILL)
    failed = until(lambda: [v for v in workspace.variants(run_id) if v.status == "failed"], "nothing failed")
    assert failed[0].id == "fp16" and "its worker was lost twice" in failed[0].reason
    left = next(worker for worker in workers.values() if worker.poll() is None)
    process = psutil.Process(left.pid)
    until(lambda: process.children(recursive=True), "prune_structured is made nowhere")
    jobs.cancel(run_id, workspace)
    until(lambda: not process.children(recursive=True), "the worker goes on")
    assert workspace.state(run_id) == "cancelled" and left.poll() is None


def test_without_a_scheduler_a_run_goes_on_alone(workspace, asked, monkeypatch):
    from engine.cluster import host
    from engine.events import StateChanged
    from engine.run import worker

    monkeypatch.setattr(host, "WAIT_S", 1.0)
    monkeypatch.setenv("EDGEWISE_SCHEDULER", "tcp://127.0.0.1:9")
    run_id = workspace.create(asked(techniques=["fp16"]))
    workspace.append(run_id, StateChanged(state="running"))
    worker.work(run_id)
    found = workspace.run(run_id)
    assert found.state == "done" and [v.status for v in found.variants] == ["done", "done"]
    (said,) = (e.text for e in workspace.events(run_id) if isinstance(e, Logged) and e.technique == "fp16")
    assert said.startswith("No scheduler answered at tcp://127.0.0.1:9 for 1 s") and "this machine" in said
