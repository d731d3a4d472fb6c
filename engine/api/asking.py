"""What changes something: runs are started, stopped, resumed, deleted and taken back; a model is estimated, a
device calibrated.
"""

from pathlib import Path

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from engine import ask, face, visitors
from engine.api.answers import Home, Own, RunId, is_shipped, shown
from engine.api.guard import Visitor
from engine.datasets import DATASETS
from engine.errors import BadInput
from engine.run import jobs
from engine.run.estimate import estimates_of
from engine.store import deleted, uploads
from engine.store.calibrations import keep_results
from engine.store.workspace import Workspace
from engine.vocabulary import Constraints, Estimate, Goal, ModelFile, Run, Weights
from estimator.calibrate import BenchmarkResult

router = APIRouter(tags=["runs"])
MODEL = Field(description="A shipped model's id, or the SHA-256 of an upload.")


class Asked(BaseModel):
    """What a run is asked for; what is left out has its default, of techniques all."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "model": "digits/pytorch/small",
                    "dataset": "digits",
                    "device": "raspberry_pi_4",
                    "techniques": ["ptq_int8"],
                    "constraints": {"max_size_mb": 0.5},
                }
            ]
        },
    )
    model: str = MODEL
    name: str | None = Field(None, max_length=200, description="What to call an upload.")
    dataset: str | None = Field(None, description="A preset's id, or the SHA-256 of an upload.")
    device: str
    runtime: str | None = None
    goal: Goal | None = None
    weights: Weights | None = None
    constraints: Constraints = Constraints()
    techniques: list[str] | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    time_budget_s: int = Field(300, ge=ask.SHORTEST_S, le=ask.LONGEST_S)
    cautious: bool = False
    architecture: str | None = Field(None, description="The network of bare weights, where it is not found.")
    input_size: tuple[int, int] | None = Field(
        None, description="Height and width, where the file is silent."
    )
    class_order: str | list[str] | None = Field(
        None, description="The classes in the order of the outputs, or `found`: that which images point to."
    )


class ToEstimate(BaseModel):
    """A model, and what it would run on."""

    model: str = MODEL
    device: str = Field(description="A device's id, or `all`.")
    runtime: str | None = None
    threads: int | None = Field(None, ge=1, le=1024)
    precision: str | None = None


class Calibrated(BaseModel):
    """What a device's measurements changed."""

    device: str
    measurements: int
    text: str


@router.post("/runs", status_code=201)
def start(asked: Asked, home: Home, visitor: Visitor) -> Run:
    """Queues a run and returns it at once; its progress comes at `/runs/{run}/events`."""
    visitors.may_queue(visitor, home)  # before a file is opened, which takes a while
    about_the_file = {"model", "name", "dataset", "architecture", "input_size", "class_order"}
    plain = asked.model_dump(mode="json", exclude=about_the_file)
    experiment = ask.build(
        lambda dataset: _opened(asked, dataset, home), dataset=_dataset(asked.dataset, home), **plain
    )
    return shown(home.run(jobs.start(experiment, home, visitor)))


@router.post("/runs/{run}/stop")
def stop(run: Own, home: Home) -> Run:
    """Stops a run within 2 seconds and keeps what is finished; an ended run stays as it is."""
    jobs.cancel(run, home)
    return shown(home.run(run))


@router.post("/runs/{run}/resume")
def resume(run: Own, home: Home) -> Run:
    """Goes on with a stopped or failed run at its first unfinished technique."""
    jobs.resume(run, home)
    return shown(home.run(run))


@router.delete("/runs/{run}", status_code=204)
def delete(run: Own, home: Home) -> None:
    """Takes a run off the list and keeps it for a day."""
    home.delete(run)


@router.post("/runs/{run}/restore")
def restore(run: RunId, home: Home, visitor: Visitor) -> Run:
    """Takes back a run that was deleted within the last day."""
    if visitors.has_limits(visitor) and deleted.owner_of(run, home.home) != visitor:
        raise HTTPException(403, "Another visitor deleted this run, so you can't take it back.")
    home.undelete(run)
    return shown(home.run(run))


@router.post("/estimates", tags=["estimates"])
def estimate(asked: ToEstimate, home: Home, visitor: Visitor) -> dict[str, Estimate]:
    """Predicts latency, memory and energy of a model, by device, with the interval of each."""
    visitors.may_work(visitor)
    model = asked.model if is_shipped(asked.model) else str(_file(asked.model, home))
    return estimates_of(model, asked.device, asked.runtime, asked.threads, asked.precision)


@router.post("/devices/{device}/calibrations", tags=["estimates"], status_code=201)
def calibrate(device: str, result: BenchmarkResult, home: Home) -> Calibrated:
    """Corrects a device's predictions with the `benchmark-result.json` that benchmark.py wrote on it."""
    summary = keep_results(device, [("This result", result)], home)
    return Calibrated.model_validate({name: summary[name] for name in Calibrated.model_fields})


def _file(sha256: str, home: Workspace) -> Path:
    if (path := uploads.file_of(sha256, "model", home.home)) is None:
        raise BadInput(f"No model is called {sha256!r}: give a shipped model's id or an upload's SHA-256.")
    return path


def _dataset(named: str | None, home: Workspace) -> str | None:
    """Returns a preset's id or an uploaded file; a path is never taken, which would open the server's own."""
    if named is None or named in DATASETS:
        return named
    if (found := uploads.file_of(named, "data.zip", home.home)) is None:
        raise BadInput(f"No data set is called {named!r}: give a preset's id or an upload's SHA-256.")
    return str(found)


def _opened(asked: Asked, dataset: str | None, home: Workspace) -> ModelFile:
    """Returns what the model is: opened behind the wall, with the images that settle how it is fed."""
    shipped = is_shipped(asked.model)
    found = face.inspect(
        asked.model if shipped else _file(asked.model, home),
        dataset,
        name=None if shipped else asked.name,
        architecture=asked.architecture,
        input_size=asked.input_size,
        class_order=asked.class_order,
        workspace=home.home,
    )
    if not shipped:
        uploads.remember(found)
    return found
