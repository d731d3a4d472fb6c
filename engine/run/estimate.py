"""Predictions for a model file that nobody has optimized: the file is profiled behind the wall, the rest is
arithmetic.
"""

import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine import runtimes
from engine.errors import BadInput
from engine.formats import recognise
from engine.formats.inspect import inspect_model
from engine.judge.estimates import estimates_for
from engine.run.requests import ProfileFile
from engine.store.calibrations import calibrations_in
from engine.store.workspace import Workspace
from engine.vocabulary import Estimate
from engine.wall import sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Failed
from engine.wall.turns import turn
from estimator.devices import all_devices
from estimator.types import Profile

PRECISIONS = ("float32", "float16", "int8", "int4")
GRAPHS = ("onnx", "tflite")  # formats that are profiled as they are
READ_S, EXPORT_S = 28, 120


def estimates_of(
    model: str, device: str, runtime: str | None, threads: int | None, precision: str | None
) -> dict[str, Estimate]:
    """Returns predictions for a model file or shipped id on one device or `all`; raises BadInput with one
    sentence.
    """
    chosen = _able(device, runtime)
    if threads is not None and threads < 1:
        raise BadInput(f"{threads} threads can't run anything: give 1 or more.")
    if precision is not None and precision not in PRECISIONS:
        raise BadInput(f"No precision is called {precision!r}: choose float32, float16, int8 or int4.")
    calibrations = calibrations_in(Workspace(), chosen)
    how: dict[str, Any] = {"runtime": runtime, "threads": threads, "precision": precision}
    formats = {f for name in chosen if runtime for f in all_devices()[name].runtimes[runtime].formats}
    profile = profile_of(model, runtimes.of(*formats) if len(formats) == 1 else None)
    return estimates_for(profile, calibrations, chosen, **how)


def _able(device: str, runtime: str | None) -> list[str]:
    """Returns the devices that are meant by an id or `all`, those that have the runtime."""
    known = all_devices()
    if device != "all" and device not in known:
        raise BadInput(f"No device is called {device!r}: choose one of {', '.join(known)}, or all.")
    chosen = list(known) if device == "all" else [device]
    able = [name for name in chosen if runtime is None or runtime in known[name].runtimes]
    if not able:
        names = sorted({name for each in chosen for name in known[each].runtimes})
        raise BadInput(f"No runtime is called {runtime!r} there: choose from {', '.join(names)}.")
    return able


def profile_of(model: str, runtime: str | None = None) -> Profile:
    """Returns what a model file holds, read behind the wall; one that is no ONNX or TFLite file is exported
    first, for the runtime where its framework writes files for that. Raises BadInput when it can't be read.
    """
    path = Path(model)
    is_graph = path.is_file() and recognise(path) in GRAPHS
    found = None if is_graph else inspect_model(model, path.name if path.exists() else model)
    with tempfile.TemporaryDirectory() as folder:
        asked = ProfileFile(folder=Path(folder), path=path.resolve(), model=found, runtime=runtime)
        limits = Limits(seconds=READ_S if is_graph else EXPORT_S, programs=False)
        try:
            with turn():
                return Profile.model_validate(sandbox.run("engine.run.tasks", asked.sent(), limits))
        except (Failed, ValidationError) as failed:
            why = failed if isinstance(failed, Failed) else "its process answered with no profile"
            raise BadInput(
                f"'{path.name}' can't be estimated, because {why}: check that it is a whole, unaltered model."
            ) from None
