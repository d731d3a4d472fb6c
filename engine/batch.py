"""Many experiments from one file, or one for each model in a folder: all checked first, then run in turn.

A file is YAML: a list of experiments, or `defaults` and `experiments`. An experiment has a `model` and what
`engine.optimize` takes; limits go by their names (`max_size_mb`). Paths are relative to the file.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from engine import ask, face
from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError
from engine.events import Event
from engine.judge.words import dataset_name, device_name
from engine.run import jobs
from engine.store.workspace import Workspace
from engine.vocabulary import Constraints, Experiment, Run
from models.catalog import CATALOG

MOST, MOST_BYTES = 1_000, 1_000_000
FEEDING = ("architecture", "input_size", "class_order")
FIELDS = (
    "dataset",
    "device",
    "runtime",
    "goal",
    "weights",
    "techniques",
    "seed",
    "time_budget_s",
    "cautious",
)
ENDINGS = (
    *(".onnx", ".tflite", ".keras", ".h5", ".zip"),
    *(".pt", ".pth", ".pth.tar", ".bin", ".ckpt", ".th", ".safetensors"),
)
COLUMNS = (
    *("model", "dataset", "device", "state", "recommended", "size_bytes", "accuracy", "accuracy_drop_pp"),
    *("estimated_ms", "estimated_low_ms", "estimated_high_ms", "run", "reason"),
)


def asked_in(source: Path, **defaults: Any) -> list[dict[str, Any]]:
    """Returns the experiments of a YAML file, or one for each model file in a folder; what is None in
    `defaults` is left out. Raises BadInput for a file that can't be read or says something else.
    """
    given = {name: value for name, value in defaults.items() if value is not None}
    if source.is_dir():
        found = [path for path in sorted(source.iterdir()) if path.name.lower().endswith(ENDINGS)]
        if not found:
            raise BadInput(f"There is no model file in {source}: models end in {', '.join(ENDINGS)}.")
        return [given | {"model": str(path)} for path in found]
    said = _read(source)
    shared, listed = (
        (said.get("defaults") or {}, said.get("experiments")) if isinstance(said, dict) else ({}, said)
    )
    if not isinstance(shared, dict) or not isinstance(listed, list) or not 0 < len(listed) <= MOST:
        raise BadInput(
            f"{source.name} is no batch: give a list of 1 to {MOST} `experiments`, and `defaults`."
        )
    return [_one(number, given | shared, one, source.parent) for number, one in enumerate(listed, 1)]


def _read(source: Path) -> Any:
    try:
        if source.stat().st_size > MOST_BYTES:
            raise BadInput(f"{source.name} is too large for a batch: it may have {MOST_BYTES / 1e6:g} MB.")
        return yaml.safe_load(source.read_text())
    except OSError as error:
        raise BadInput(f"{source} can't be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise BadInput(f"{source.name} is no YAML: {said[:200]}") from None


def _one(number: int, defaults: dict[str, Any], one: Any, folder: Path) -> dict[str, Any]:
    if isinstance(one, str):
        one = {"model": one}
    if not isinstance(one, dict) or "model" not in {**defaults, **one}:
        raise BadInput(f"Experiment {number} names no model: give at least `model`.")
    found = defaults | one
    known = {"model", *FEEDING, *FIELDS, *Constraints.model_fields}
    if unknown := sorted(str(name) for name in found if name not in known):
        raise BadInput(f"Experiment {number} asks for {unknown[0]!r}, which is nothing that a run takes.")
    return found | {
        name: str(folder / Path(found[name]).expanduser())
        for name, names in (("model", CATALOG), ("dataset", DATASETS))
        if found.get(name) is not None and found[name] not in names
    }


def checked(asked: list[dict[str, Any]], workspace: Workspace) -> list[Experiment]:
    """Returns the experiments as they may start, all of them checked; raises BadInput with a line for each
    that may not.
    """
    found, wrong = [], []
    for number, one in enumerate(asked, 1):
        limits = {name: one[name] for name in Constraints.model_fields if name in one}
        fields = {name: one[name] for name in (*FEEDING, *FIELDS) if one.get(name) is not None}
        if "device" not in fields:
            fields["device"] = ""
        try:
            found.append(ask.check(face.ask_for(one["model"], limits, workspace=workspace.home, **fields)))
        except EdgewiseError as error:
            wrong.append(f"Experiment {number} ({Path(one['model']).name}): {error}")
    if wrong:
        raise BadInput("\n".join([*wrong, "Nothing was started."]))
    return found


def run_all(
    experiments: list[Experiment], workspace: Workspace, on_event: Callable[[Event], None]
) -> Iterator[dict[str, Any]]:
    """Runs one after the other and yields a row of COLUMNS for each; one that fails does not stop the others.
    Interrupting cancels the one at work; what is finished is kept.
    """
    for experiment in experiments:
        run_id = jobs.start(experiment, workspace)
        jobs.finish(run_id, workspace, on_event)
        yield row(workspace.run(run_id))


def row(run: Run) -> dict[str, Any]:
    """Returns what a summary says of a run: its question, its state, the recommended variant's figures."""
    best = next((v for v in run.variants if run.recommendation and v.id == run.recommendation.winner), None)
    guess = best.estimates.get(run.experiment.device) if best else None
    asked = run.experiment
    return {
        "model": asked.model.name,
        "dataset": dataset_name(asked.dataset) if asked.dataset else None,
        "device": device_name(asked.device),
        "state": run.state,
        "recommended": best.id if best else None,
        **{name: getattr(best, name, None) for name in ("size_bytes", "accuracy", "accuracy_drop_pp")},
        "estimated_ms": guess.latency_ms if guess else None,
        "estimated_low_ms": guess.low_ms if guess else None,
        "estimated_high_ms": guess.high_ms if guess else None,
        "run": run.id,
        "reason": run.reason or ("" if best else "no variant keeps every limit"),
    }
