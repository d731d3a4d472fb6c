"""Predictions for artifacts and model files, corrected by what the user measured on their own device."""

import hashlib
import json
import tempfile
from pathlib import Path

from pydantic import ValidationError

from engine.errors import BadInput
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from engine.vocabulary import DEVICES, Estimate
from engine.wall import sandbox
from estimator.calibrate import BenchmarkResult, Calibration, calibrate
from estimator.devices import all_devices
from estimator.predict import estimate
from estimator.types import Profile

LARGEST_RESULT_BYTES = 20_000_000


def estimates_for(
    profile: Profile, workspace: Workspace, devices: list[str] | None = None, **how
) -> dict[str, Estimate]:
    """Returns an Estimate by device id (the six targets by default); `how`: runtime, threads, precision."""
    return {
        device: estimate(profile, device, calibration=calibration_of(device, workspace), **how)
        for device in devices or list(DEVICES)
    }


def estimates_of(
    model: str, device: str, runtime: str | None, threads: int | None, precision: str | None
) -> dict[str, Estimate]:
    """Returns predictions for a model file or shipped id on one device or `all`; raises BadInput with one
    sentence.
    """
    known = all_devices()
    if device != "all" and device not in known:
        raise BadInput(f"No device is called {device!r}: choose one of {', '.join(known)}, or all.")
    if threads is not None and threads < 1:
        raise BadInput(f"{threads} threads can't run anything: give 1 or more.")
    if precision not in (None, "float32", "float16", "int8", "int4"):
        raise BadInput(f"No precision is called {precision!r}: choose float32, float16, int8 or int4.")
    chosen = list(known) if device == "all" else [device]
    if runtime is not None:
        able = [name for name in chosen if runtime in known[name].runtimes]
        if not able:
            names = sorted({r for name in chosen for r in known[name].runtimes})
            raise BadInput(f"No runtime is called {runtime!r} there: choose from {', '.join(names)}.")
        chosen = able
    return estimates_for(
        profile_of(model), Workspace(), chosen, runtime=runtime, threads=threads, precision=precision
    )


def profile_of(model: str) -> Profile:
    """Returns what a model file holds, read behind the wall; one that is no ONNX or TFLite file is exported
    first.
    """
    path = Path(model)
    with tempfile.TemporaryDirectory() as folder:
        request = {"task": "profile", "folder": folder, "path": str(path.resolve()), "model": None}
        if not (path.is_file() and is_graph(path)):
            from engine.formats.inspect import inspect_model

            request["model"] = inspect_model(model, path.name if path.exists() else model).model_dump(
                mode="json"
            )
        try:
            return Profile(
                **sandbox.run(
                    "engine.run.tasks",
                    request,
                    sandbox.Limits(seconds=120 if request["model"] else 28, programs=False),
                )
            )
        except sandbox.Failed as failed:
            raise BadInput(
                f"'{path.name}' can't be estimated, because {failed}: check that it is a whole, unaltered"
                " model."
            ) from None


def is_graph(path: Path) -> bool:
    """Tells whether a file is read as a graph as it is: TFLite by its mark, ONNX by what the formats
    recognise.
    """
    from engine.formats import recognise

    return recognise(path) in ("onnx", "tflite")


# ---- the user's own measurements ---------------------------------------------------------------------------


def calibration_of(device: str, workspace: Workspace) -> Calibration | None:
    """Returns the correction that this workspace's benchmark results give for a device, None without any."""
    results = [
        BenchmarkResult(**data)
        for data in map(read_json, sorted(_folder(device, workspace).glob("*.json")))
        if data
    ]
    return calibrate(tuple(results)) if results else None


def add_calibration(device: str, path: Path, workspace: Workspace) -> dict:
    """Keeps a benchmark result of the user's device and returns what it changes; raises BadInput with one
    sentence.
    """
    if device not in all_devices():
        raise BadInput(f"No device is called {device!r}: choose one of {', '.join(all_devices())}.")
    result = _read_result(path)
    if result.device != device:
        raise BadInput(
            f"{path.name} was measured for {result.device}, not for {device}: name that device, or choose"
            " another file."
        )
    folder = _folder(device, workspace)
    try:
        found = calibrate((result,))
    except ValueError as error:
        raise BadInput(f"{path.name} can't be used: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    data = result.model_dump(mode="json")
    write_json(
        folder / f"{hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]}.json", data
    )
    every = calibration_of(device, workspace) or found
    count = sum(c.measurements for c in every.corrections)
    return {
        "device": device,
        "measurements": count,
        "corrections": [c.model_dump() for c in every.corrections],
        "text": (
            f"{all_devices()[device].name}: predictions are now calibrated with {count} of your measurements."
        ),
    }


def _read_result(path: Path) -> BenchmarkResult:
    try:
        if path.stat().st_size > LARGEST_RESULT_BYTES:
            raise BadInput(
                f"{path.name} is larger than any benchmark result: give the benchmark-result.json that the"
                " package's benchmark.py wrote."
            )
        return BenchmarkResult(**json.loads(path.read_text()))
    except OSError as error:
        raise BadInput(f"{path} can't be read ({error.strerror}): check the path.") from None
    except (ValueError, TypeError, RecursionError) as error:
        where = (
            ".".join(map(str, error.errors()[0]["loc"]))
            if isinstance(error, ValidationError)
            else "it is no JSON object"
        )
        raise BadInput(
            f"{path.name} is no benchmark result ({where}): give the benchmark-result.json that the package's"
            " benchmark.py wrote."
        ) from None


def _folder(device: str, workspace: Workspace) -> Path:
    return workspace.home / "calibration" / device
