"""What there is to watch, as Prometheus reads it: made anew from the workspace each time that it is asked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from statistics import fmean
from typing import get_args

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.responses import Response

from engine import watch
from engine.api import guard
from engine.api.answers import Home
from engine.events import ProcessStarted
from engine.store import uploads
from engine.store.workspace import Workspace
from engine.wall import processes

router = APIRouter(tags=["health"])
STATES = ("queued", "running", "done", "failed", "cancelled")
RECENT = 20  # runs whose variants are looked at: each is read from its folder


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(home: Home, visitor: guard.Visitor) -> Response:
    """Returns runs by state, the queue among them, seconds by technique, memory, uploads and refused ones."""
    guard.may_watch(visitor)
    registry, rows = CollectorRegistry(), home.runs()
    states = Counter(row["state"] for row in rows)
    running = [row["id"] for row in rows if row["state"] == "running"]
    memory = {"web": processes.own_bytes(), "runs": sum(_bytes_of(run, home) for run in running)}
    done = list(islice((row["id"] for row in rows if row["state"] == "done"), RECENT))
    for name, text, label, values in (
        ("runs", "Runs", "state", {state: states[state] for state in STATES}),
        ("memory_bytes", "Resident bytes of this process, and of all of runs", "of", memory),
        ("upload_bytes", "Bytes of uploads", "kind", _upload_bytes(home)),
        (
            "technique_seconds",
            f"Mean to make a variant, last {RECENT} runs",
            "technique",
            _seconds(done, home),
        ),
    ):
        gauge = Gauge(f"edgewise_{name}", f"{text}.", [label], registry=registry)
        for key, value in values.items():
            gauge.labels(key).set(value)
    registry.register(_Refused())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Refused(Collector):
    """Uploads that this process did not take."""

    def collect(self) -> Iterator[Metric]:
        """Yields how many, by reason."""
        found = CounterMetricFamily(
            "edgewise_refused_uploads", "Uploads that were not taken, since the start.", labels=["reason"]
        )
        for reason in get_args(watch.Reason):
            found.add_metric([reason], watch.REFUSED[reason])
        yield found


def _bytes_of(run: str, home: Workspace) -> int:
    """Returns what a run's worker and its children hold."""
    workers = [e for e in home.events(run) if isinstance(e, ProcessStarted) and e.what == "worker"]
    return sum(processes.resident_bytes(w.pid) for w in workers[-1:] if processes.lives(w.model_dump()))


def _upload_bytes(home: Workspace) -> Mapping[str, int]:
    found = {"model": 0, "data.zip": 0}
    for one in uploads.listed(home.home):
        found[one.name] += one.received_bytes
    return {"model": found["model"], "dataset": found["data.zip"]}


def _seconds(runs: list[str], home: Workspace) -> Mapping[str, float]:
    found: dict[str, list[float]] = {}
    for variant in (v for run in runs for v in home.variants(run) if v.status == "done"):
        found.setdefault(variant.technique, []).append(variant.seconds)
    return {technique: fmean(seconds) for technique, seconds in found.items()}
