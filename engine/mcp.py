"""Edgewise for programs that speak the Model Context Protocol: `edgewise mcp`, over stdin and stdout.

The same questions, limits and refusals as on the pages, the command line and over HTTP. Models and data are
shipped ones, or files that lie in the workspace: no path leads out of it. A run takes minutes, so `optimize`
returns at once and `look` waits a little for what comes.
"""

import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from anyio import to_thread
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError

from deploy.package import build
from engine import face
from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError
from engine.judge.table import row
from engine.judge.words import device_name
from engine.run import jobs
from engine.run.view import view_of
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Constraints
from estimator.devices import all_devices
from models.catalog import CATALOG

MOST_WAIT_S = 50.0  # clients give a call up after a minute
LOOK_S = 0.5
INSTRUCTIONS = (
    "Fits trained image classifiers to edge devices. Call `options` first. `optimize` starts a run and"
    " returns its id; call `look` until it is done, then say what is recommended and why, name predictions as"
    " predictions with their interval, and `package` the chosen variant. Your own files go into the workspace"
    " folder that `options` names."
)


class Tools:
    """What a client may call on one workspace; it is shown the signatures and what stands under them."""

    def __init__(self, home: Workspace):
        self.home = home

    def options(self) -> dict[str, Any]:
        """Names devices, techniques, shipped models, data sets, limits, and the folder for your own files."""
        return {
            "devices": {id: device.name for id, device in all_devices().items()},
            "techniques": {id: technique.text for id, technique in TECHNIQUES.items()},
            "models": sorted(CATALOG),
            "datasets": sorted(DATASETS),
            "limits": sorted(Constraints.model_fields),
            "workspace": str(self.home.home),
        }

    def inspect(self, model: str, dataset: str | None = None) -> dict[str, Any]:
        """Says what a model is, and how it wants its pictures where labelled ones are given."""
        found = face.inspect(
            _within(model, CATALOG, self.home), _data(dataset, self.home), workspace=self.home.home
        )
        return found.model_dump(mode="json", exclude={"path"}, exclude_none=True)

    def estimate(self, model: str, device: str) -> dict[str, Any]:
        """Predicts latency, memory and energy of a model on a device, with the interval and what it
        rests on.
        """
        found = face.estimate(_within(model, CATALOG, self.home), device)
        return {"prediction": True} | found.model_dump(mode="json", exclude={"layers"}, exclude_none=True)

    def optimize(
        self,
        model: str,
        device: str,
        dataset: str | None = None,
        techniques: list[str] | None = None,
        goal: str = "balanced",
        limits: dict[str, float] | None = None,
        time_budget_s: int = 300,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Starts a run of every technique (or of those named) on a model and returns its id at once. limits:
        such as {"max_accuracy_drop_pp": 1, "max_size_mb": 0.5, "max_latency_ms": 5}.
        """
        experiment = face.ask_for(
            _within(model, CATALOG, self.home),
            dict(limits or {}),
            workspace=self.home.home,
            dataset=_data(dataset, self.home),
            device=device,
            techniques=techniques,
            goal=goal,
            time_budget_s=time_budget_s,
            seed=seed,
        )
        return {"run": jobs.start(experiment, self.home)}

    def look(self, run: str, wait_s: float = 30.0) -> dict[str, Any]:
        """Says how a run is getting on, waiting up to 50 seconds for its end; once it has ended, the figures
        of every variant and the recommendation.
        """
        until = time.monotonic() + min(max(wait_s, 0.0), MOST_WAIT_S)
        while (found := self.home.run(run)).state in ("queued", "running") and time.monotonic() < until:
            time.sleep(LOOK_S)
        said: dict[str, Any] = {"state": found.state, "reason": found.reason}
        if found.state in ("queued", "running"):
            said["remaining_s"] = view_of(run, self.home).remaining_s
        else:
            said["variants"] = [row(v, found.experiment.device) for v in found.variants]
        if found.recommendation:
            said["recommendation"] = found.recommendation.model_dump(mode="json", exclude_none=True)
            said["device"] = device_name(found.experiment.device)
        return said

    def stop(self, run: str) -> dict[str, Any]:
        """Stops a run and keeps what is finished."""
        jobs.cancel(run, self.home)
        return {"state": self.home.run(run).state}

    def package(self, run: str, variant: str) -> dict[str, Any]:
        """Builds the verified zip that runs a variant on its device; says where in the workspace it lies."""
        path = build(run, variant, self.home)
        return {"file": str(path), "size_bytes": path.stat().st_size}


def server(workspace: Workspace) -> FastMCP:
    """Returns the server of one workspace, with its tools."""
    made, tools = FastMCP("edgewise", instructions=INSTRUCTIONS), Tools(workspace)
    named = (
        tools.options,
        tools.inspect,
        tools.estimate,
        tools.optimize,
        tools.look,
        tools.stop,
        tools.package,
    )
    for tool in named:
        made.add_tool(_told(tool))
    return made


def _told(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the tool in a thread of its own, so that the line stays open while it works, and with our own
    failures as the protocol's: one sentence.
    """

    @wraps(tool)
    async def called(*words: Any, **named: Any) -> Any:
        try:
            return await to_thread.run_sync(partial(tool, *words, **named))
        except EdgewiseError as error:
            raise ToolError(str(error)) from None

    return called


def _within(named: str, known: Any, home: Workspace) -> str:
    """Returns a shipped name as it is, a file of the workspace by its path; raises BadInput for another."""
    if named in known:
        return named
    path = (home.home / Path(named).expanduser()).resolve()
    if not path.is_relative_to(home.home) or not path.exists():
        raise BadInput(
            f"{named!r} is neither a name that ships nor a file in the workspace: put it into {home.home}."
        )
    return str(path)


def _data(named: str | None, home: Workspace) -> str | None:
    return None if named is None else _within(named, DATASETS, home)


def main() -> None:
    """Serves the workspace of EDGEWISE_HOME until its client hangs up."""
    server(Workspace()).run("stdio")
