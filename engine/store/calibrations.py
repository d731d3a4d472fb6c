"""What users measured on their own devices, kept by device: it corrects predictions."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import BadInput
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from estimator.calibrate import BenchmarkResult, calibrate, why_another
from estimator.devices import all_devices
from estimator.types import Calibration

LARGEST_RESULT_BYTES = 20_000_000


def calibrations_in(workspace: Workspace, devices: Iterable[str] | None = None) -> dict[str, Calibration]:
    """Returns the corrections that this workspace's benchmark results give, by device (all by default)."""
    found = {device: calibration_of(device, workspace) for device in devices or all_devices()}
    return {device: calibration for device, calibration in found.items() if calibration is not None}


def calibration_of(device: str, workspace: Workspace) -> Calibration | None:
    """Returns the correction that this workspace's benchmark results give for a device, None without any. A
    result that can't be read, or says nothing any more, is as good as none.
    """
    results = []
    # names are hashes; a model that is measured again is as it was measured last
    for path in sorted(
        _folder(device, workspace).glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name)
    ):
        with suppress(ValidationError):
            results.append(BenchmarkResult.model_validate(read_json(path)))
    with suppress(ValueError):
        return calibrate(tuple(results)) if results else None
    return None


def add_calibration(device: str, paths: Iterable[Path], workspace: Workspace) -> dict[str, Any]:
    """Keeps what is in files of benchmark results; see `keep_results`."""
    return keep_results(device, ((path.name, _read_result(path)) for path in paths), workspace)


def keep_results(
    device: str, found: Iterable[tuple[str, BenchmarkResult]], workspace: Workspace
) -> dict[str, Any]:
    """Keeps benchmark results of the user's device, of one or several models, each with what to call it, and
    returns what they change; raises BadInput with one sentence, and keeps none, where one can't be used.
    """
    if device not in all_devices():
        raise BadInput(f"No device is called {device!r}: choose one of {', '.join(all_devices())}.")
    results = [_checked(device, name, result) for name, result in found]
    folder = _folder(device, workspace)
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        data = result.model_dump(mode="json")
        name = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
        write_json(folder / f"{name}.json", data)
    every = calibration_of(device, workspace) or calibrate(tuple(results))
    count = sum(c.measurements for c in every.corrections)
    return {
        "device": device,
        "measurements": count,
        "corrections": [c.model_dump() for c in every.corrections],
        "text": (
            f"{all_devices()[device].name}: predictions are now calibrated with {count} of your measurements."
        ),
    }


def _checked(device: str, name: str, result: BenchmarkResult) -> BenchmarkResult:
    if result.device != device:
        raise BadInput(
            f"{name} was measured for {result.device}, not for {device}: name that device, or choose"
            " another file."
        )
    if result.machine is not None and (why := why_another(result.machine, all_devices()[device])):
        raise BadInput(f"{name} is not taken, because {why}: run benchmark.py on the device itself.")
    try:
        calibrate((result,))
    except ValueError as error:
        raise BadInput(f"{name} can't be used: {error}") from None
    return result


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
