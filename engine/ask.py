"""The one door: what is asked for is checked here, for the page, the command line and whoever comes next.

Names, limits, data and memory are checked when a run is asked for, never when an old one is read.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine import memory, runtimes
from engine.datasets import DATASETS
from engine.errors import BadInput
from engine.judge.limits import placed
from engine.techniques import TECHNIQUES
from engine.techniques.technique import Technique
from engine.vocabulary import SCHEMA_VERSION, Experiment, Goal, ModelFile, parse
from estimator.devices import all_devices

SHORTEST_S, LONGEST_S = 10, 86_400
A_CLASS_TO_TRAIN = 50
TO_CALIBRATE = 32
TO_CHOOSE = 50


def build(model: ModelFile | Callable[[str | None], ModelFile], **asked: Any) -> Experiment:
    """Returns the experiment that is asked for, checked; raises BadInput with one sentence.

    Args:
        model: The model, or what opens it, given the data set. Opening takes seconds, so it comes last.
        asked: Fields of `Experiment`. Those left out or None have their default; of techniques, all.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    dataset = given["dataset"] = dataset_named(given.get("dataset"))
    device_named(given.get("device", ""))
    goal_named(given.get("goal", "balanced"))
    given["time_budget_s"] = _time_budget(given.get("time_budget_s", 300))
    given["techniques"] = techniques_named(given.get("techniques", TECHNIQUES))
    if (runtime := given.get("runtime")) is not None:
        runtimes.named(runtime)
    opened = model if isinstance(model, ModelFile) else model(dataset)
    given["runtime"], given["runtime_note"] = runtimes.settled(opened, given["device"], runtime)
    # as plain data: a part that was changed without being validated is validated here
    plain = {"model": opened.model_dump(mode="json"), **given}
    return _known(parse(Experiment, plain))


def check(experiment: Experiment) -> Experiment:
    """Returns an experiment as it may start: names known, techniques in their order, paths absolute.

    Raises BadInput for one of another schema, an unknown name, lost data, a model that can't be optimized, or
    too little memory.
    """
    if experiment.schema_version != SCHEMA_VERSION:
        raise BadInput(
            f"This run was written with schema {experiment.schema_version} and can only be looked at: start"
            " it anew with this version."
        )
    known = _known(experiment)
    memory.check(known.model)
    return known


def _known(experiment: Experiment) -> Experiment:
    model = experiment.model
    if model.reach == "inspect":
        why = " ".join([f"{model.name} can be inspected and estimated only.", *model.warnings])
        raise BadInput(why)
    device_named(experiment.device)
    if experiment.runtime is not None:
        runtimes.named(experiment.runtime)
    return experiment.model_copy(
        update={
            "model": model.model_copy(update={"path": str(Path(model.path).expanduser().resolve())}),
            "dataset": dataset_named(experiment.dataset),
            "techniques": techniques_named(experiment.techniques),
            "constraints": placed(experiment.constraints, model.classes),
        }
    )


def device_named(name: str) -> str:
    """Returns a device's id; raises BadInput where none is called that."""
    if name not in all_devices():
        raise BadInput(f"No device is called {name!r}: choose one of {', '.join(all_devices())}.")
    return name


def goal_named(name: str) -> Goal:
    """Returns the goal; raises BadInput where none is called that."""
    if name not in list(Goal):
        raise BadInput(f"No goal is called {name!r}: choose one of {', '.join(Goal)}.")
    return Goal(name)


def techniques_named(names: Iterable[str]) -> list[str]:
    """Returns technique ids once each, in the order that they run in; raises BadInput for one unknown, or
    none.
    """
    wanted = list(names)
    if not wanted:
        raise BadInput("No technique is chosen: choose at least one.")
    for name in wanted:
        if name not in TECHNIQUES:
            raise BadInput(f"No technique is called {name!r}: choose from {', '.join(TECHNIQUES)}.")
    return [name for name in TECHNIQUES if name in wanted]


def dataset_named(dataset: str | Path | None) -> str | None:
    """Returns a preset's id, or the absolute path of a ZIP or folder, which every process finds from its own
    folder. Raises BadInput where there is neither.
    """
    if dataset is None or str(dataset) in DATASETS:
        return None if dataset is None else str(dataset)
    path = Path(dataset).expanduser()
    if not str(dataset).strip() or not path.exists():
        raise BadInput(
            f"No data set is called {str(dataset)!r}: choose one of {', '.join(DATASETS)}, or give a ZIP or a"
            " folder of class folders."
        )
    return str(path.resolve())


def _time_budget(seconds: float) -> int:
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise BadInput(
            f"A time budget of {seconds:g} s can't be kept: give {SHORTEST_S} to {LONGEST_S} seconds."
        )
    return int(seconds)


def lacks(technique: Technique, model: ModelFile, dataset: str | None) -> str:
    """Returns what a technique lacks on this model with this data, as part of a sentence, or ""."""
    if model.reach == "inspect":
        return "this file can only be looked at"
    if technique.trains and model.reach == "post_training":
        return (
            "it trains, and this file can't be trained: "
            + (model.warnings or ["its format holds no trainable network."])[0]
        )
    if technique.trains and dataset is None:
        return "it trains, and this run has no labelled images: choose a data set"
    return ""


def too_few(meta: dict[str, Any], techniques: list[str]) -> list[str]:
    """Returns what is too little in a data set (its `meta.json`) for these techniques, a sentence each."""
    sizes = {part: stop - start for part, (start, stop) in meta["parts"].items()}
    fewest = min(meta["class_counts"]["train"])
    found = []
    if fewest < A_CLASS_TO_TRAIN and (named := _titles(techniques, "trains")):
        found.append(
            f"The smallest class has {_counted(fewest, 'training image')}, fewer than {A_CLASS_TO_TRAIN}:"
            f" fine-tuning learns them by heart, so expect losses from {named}."
        )
    if sizes["calibration"] < TO_CALIBRATE and (named := _titles(techniques, "calibrates")):
        found.append(
            f"Only {_counted(sizes['calibration'], 'calibration image')} set the ranges of activations, fewer"
            f" than {TO_CALIBRATE}: {named} may lose accuracy."
        )
    if sizes["validation"] < TO_CHOOSE and (named := _titles(techniques, "searches")):
        found.append(
            f"Only {_counted(sizes['validation'], 'validation image')} choose among settings, fewer than"
            f" {TO_CHOOSE}: the search of {named} can't see small losses."
        )
    return found


def _titles(techniques: list[str], wanted: str) -> str:
    return ", ".join(TECHNIQUES[name].title for name in techniques if getattr(TECHNIQUES[name], wanted))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
