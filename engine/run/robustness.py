"""How accurate a run's variants stay when pictures are dark, blurred, noisy, shifted or turned: measured on
test images when somebody asks for it, and kept with the run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.errors import BadInput
from engine.run import later
from engine.run.made import check_files
from engine.run.prepare import prepare
from engine.run.requests import MeasureRobustness
from engine.runtimes import saturates_here
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from engine.vocabulary import Robustness, Run, Variant
from engine.wall.sandbox import Failed

LIMIT_S = 1_800
MOST_VARIANTS = 8
FILE = "robustness.json"
ROBUSTNESS = TypeAdapter(dict[str, Robustness])


def robustness_of(run_id: str, workspace: Workspace) -> dict[str, Robustness]:
    """Returns what was measured of a run's variants so far, by their ids."""
    return _read(workspace.folder(run_id))


def _read(folder: Path) -> dict[str, Robustness]:
    try:
        return ROBUSTNESS.validate_python(read_json(folder / FILE) or {})
    except ValidationError:
        return {}


def with_robustness(variants: Sequence[Variant], known: Mapping[str, Robustness]) -> list[Variant]:
    """Returns the variants with what they lose on damaged pictures, where that is known."""
    return [
        v.model_copy(update={"robust_drop_pp": round(known[v.id].drop_pp(), 6)}) if v.id in known else v
        for v in variants
    ]


def measure_robustness(
    run_id: str,
    workspace: Workspace,
    variants: Sequence[str] = (),
    on_progress: later.Progress = later.silent,
) -> dict[str, Robustness]:
    """Measures variants (by default the baseline and what the run recommends) behind the wall, and
    returns all that is known then.

    Raises BadInput for an unknown or unfinished variant, too many, or a run without labelled images.
    """
    run, folder = workspace.run(run_id), workspace.folder(run_id)
    if run.experiment.dataset is None:
        raise BadInput("This run has no labelled images, so robustness can't be measured: choose a data set.")
    known = robustness_of(run_id, workspace)
    new = [v for v in _chosen(run, variants) if v.id not in known]
    if new:
        # a run that was made elsewhere: its data set need not be ready here
        e, watch = run.experiment, later.watching(on_progress)
        prepare(run.experiment.dataset, workspace.home, e.model, watch)
        request = asked_of(later.carried(run, workspace), folder, new)
        known |= kept(later.ask(run, workspace, request, LIMIT_S, on_progress), request, folder)
    return known


def asked_of(common: dict[str, Any], folder: Path, variants: Sequence[Variant]) -> MeasureRobustness:
    """Returns what a child is asked to measure, given what every request of the run carries."""
    for variant in variants:
        check_files(variant, folder)
    return MeasureRobustness(
        **common,
        artifacts={v.id: v.artifacts[0] for v in variants},
        exact=tuple(v.id for v in variants if saturates_here(v)),
    )


def kept(answer: dict[str, Any], request: MeasureRobustness, folder: Path) -> dict[str, Robustness]:
    """Returns what a child measured of the variants that it was asked for, and keeps it with the run; raises
    Failed where it answered with something else.
    """
    try:
        found = ROBUSTNESS.validate_python(answer)
        kinds = {tuple(found[name].corrupted) for name in request.artifacts}
    except (ValidationError, KeyError):
        kinds = set()
    if len(kinds) != 1:
        raise Failed("its process answered with something else than it was asked for")
    new = {name: found[name] for name in request.artifacts}
    known = _read(folder) | new
    write_json(folder / FILE, ROBUSTNESS.dump_python(known, mode="json"))
    return new


def _chosen(run: Run, names: Sequence[str]) -> list[Variant]:
    choice = run.recommendation
    picks = [choice.winner or choice.nearest, *choice.picks.values()] if choice else []
    wanted = later.finished(run, names, () if names else [name for name in picks if name])
    if len(wanted) > MOST_VARIANTS:
        raise BadInput(f"{len(wanted)} variants take too long at once: choose at most {MOST_VARIANTS - 1}.")
    return wanted
