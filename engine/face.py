"""Edgewise as a library: what the command line does, as functions. Import it as `engine`.

Models are paths, ids of shipped models or what `inspect` returned; data sets are ids of presets, or paths of
a ZIP or folder of class folders. A workspace is a folder; by default that of EDGEWISE_HOME. All raise
`engine.errors.BadInput` for what can't be used and `EdgewiseError` for what went wrong, with one sentence.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from deploy import packed
from engine import ask, vocabulary
from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError
from engine.events import Event
from engine.formats import class_order as class_orders
from engine.formats.inspect import inspect_model
from engine.judge.budget import held_against
from engine.judge.limits import placed
from engine.judge.operators import OperatorTime
from engine.judge.table import row
from engine.run import jobs, on_board, travel
from engine.run.estimate import estimates_of
from engine.run.operators import time_operators
from engine.run.prepare import data_sha256, prepare
from engine.run.robustness import measure_robustness, robustness_of, with_robustness
from engine.store.workspace import Workspace
from engine.vocabulary import Constraints, Estimate, Experiment, ModelFile, Pace, Robustness, Variant, parse

__all__ = ["Run", "ask_for", "check", "estimate", "inspect", "optimize", "package", "report", "robustness"]

Model = str | Path | ModelFile


class Run(vocabulary.Run):
    """A run that has ended, as it stands on disk; it never changes."""

    _home: Path = PrivateAttr()

    @classmethod
    def of(cls, run_id: str, workspace: Workspace) -> "Run":
        """Returns a run of a workspace; raises BadInput where there is none of that id."""
        found = on_board.read(run_id, workspace)
        made = cls(**{name: getattr(found, name) for name in vocabulary.Run.model_fields})
        made._home = workspace.home
        return made

    @property
    def best(self) -> Variant | None:
        """The recommended variant; None where none keeps every limit."""
        winner = self.recommendation.winner if self.recommendation else None
        return next((v for v in self.variants if v.id == winner), None)

    def path_of(self, variant: Variant | str) -> Path:
        """Returns the file of a variant that its runtime opens; raises BadInput for one that has none."""
        found = self.variant(variant)
        if found.status != "done" or not found.artifacts:
            raise BadInput(f"{found.id} has no file, because it {found.status}: {found.reason}.")
        primary = found.artifacts[0]
        return self._home / "runs" / self.id / primary.opened

    def variant(self, variant: Variant | str) -> Variant:
        """Returns a variant of this run by its id; raises BadInput for another."""
        name = variant if isinstance(variant, str) else variant.id
        for found in self.variants:
            if found.id == name:
                return found
        ids = ", ".join(v.id for v in self.variants)
        raise BadInput(f"This run has no variant {name!r}: choose one of {ids}.")

    def data_sha256(self) -> str:
        """Returns the SHA-256 of its data set, as it was prepared for its model (its labels and a sample of
        its images); "" without one.
        """
        return data_sha256(self.experiment, self._home)

    def table(self) -> list[dict[str, Any]]:
        """Returns a row a variant of plain figures, ready for a data frame."""
        return [row(v, self.experiment.device) for v in self.variants]


def inspect(
    model: str | Path,
    dataset: str | Path | None = None,
    *,
    name: str | None = None,
    architecture: str | None = None,
    input_size: tuple[int, int] | None = None,
    class_order: str | Sequence[str] | None = None,
    workspace: str | Path | None = None,
) -> ModelFile:
    """Says what a model is, which is only opened behind the wall; labelled images settle how it wants to be
    fed.

    Args:
        architecture: The network of bare weights that Edgewise can't place.
        input_size: Height and width of its images, where the file leaves them open.
        class_order: The classes in the order of its outputs, or "found": that which the images point to.
    """
    home = Workspace(workspace).home
    known = ask.dataset_named(dataset)
    path = Path(model).expanduser()
    if known is not None and (path.exists() or known not in DATASETS):
        prepare(known, home)  # a shipped model's facts need no pictures, and the run makes a preset ready
    file, called = (path, path.name) if path.exists() else (str(model), str(model))
    found = inspect_model(
        file,
        name or called,
        dataset=known,
        architecture=architecture,
        input_size=input_size,
        home=home,
    )
    return found if class_order is None else class_orders.accepted(found, class_order)


def ask_for(
    model: Model,
    limits: dict[str, float | None],
    *,
    architecture: str | None = None,
    input_size: tuple[int, int] | None = None,
    class_order: str | Sequence[str] | None = None,
    workspace: str | Path | None = None,
    **asked: Any,
) -> Experiment:
    """Returns the checked experiment that `optimize` runs; `asked` are fields of `Experiment`, the others as
    `inspect` takes them.
    """

    def opened(dataset: str | None) -> ModelFile:
        if isinstance(model, ModelFile):
            return model if class_order is None else class_orders.accepted(model, class_order)
        return inspect(
            model,
            dataset,
            architecture=architecture,
            input_size=input_size,
            class_order=class_order,
            workspace=workspace,
        )

    constraints = parse(Constraints, limits)
    return ask.build(opened, constraints=constraints.model_dump(), **asked)


def optimize(
    model: Model,
    *,
    device: str,
    dataset: str | Path | None = None,
    runtime: str | None = None,
    goal: str = "balanced",
    techniques: list[str] | None = None,
    seed: int = 0,
    time_budget_s: float = 300,
    cautious: bool = False,
    pace: Pace | dict[str, Any] | None = None,
    architecture: str | None = None,
    input_size: tuple[int, int] | None = None,
    class_order: str | Sequence[str] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    workspace: str | Path | None = None,
    **limits: float | None,
) -> Run:
    """Runs every technique on a model, waits for it, and returns the run with its recommendation.

    Args:
        runtime: What the files are for: `onnxruntime` (ONNX) or `litert` (TFLite); the device's by default.
        techniques: Ids; all by default.
        time_budget_s: Seconds that techniques which train share.
        pace: Of a run that is repeated, which then takes the same steps of training.
        architecture, input_size, class_order: As `inspect` takes them.
        on_event: Called with each event of the run as it comes.
        limits: Fields of `Constraints`, such as `max_size_mb=0.5`.

    The run works in a process of its own, behind the wall. Interrupting this one cancels it; what is finished
    is kept. Raises BadInput for what can't be run, EdgewiseError when the run fails.
    """
    home = Workspace(workspace)
    experiment = ask_for(
        model,
        limits,
        workspace=home.home,
        input_size=input_size,
        class_order=class_order,
        dataset=dataset,
        device=device,
        runtime=runtime,
        goal=goal,
        techniques=techniques,
        seed=seed,
        time_budget_s=time_budget_s,
        cautious=cautious,
        pace=pace,
        architecture=architecture,
    )
    run_id = jobs.start(experiment, home)
    jobs.finish(run_id, home, on_event)
    run = Run.of(run_id, home)
    if run.state != "done":
        raise EdgewiseError(f"The run {run.id} {run.state}: {run.reason}")
    return run


def estimate(
    model: str | Path,
    device: str,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Estimate:
    """Predicts latency, memory and energy of a model on a device, with the interval of each."""
    if device == "all":
        raise BadInput("A prediction is for one device: give its id.")
    return estimates_of(str(model), device, runtime, threads, precision)[device]


def check(
    model: str | Path,
    device: str | None = None,
    *,
    variant: str | None = None,
    runtime: str | None = None,
    cautious: bool = False,
    workspace: str | Path | None = None,
    **limits: Any,
) -> tuple[list[str], list[str]]:
    """Holds a model file, a shipped model, a package or a run's variant against limits (fields of
    `Constraints`).

    Returns those that are kept and those that are broken, a phrase each.

    Args:
        model: A file or shipped id, of which size and predictions are checked; a package, of which accuracy
            is as well; or the id of a run, of which everything is.
        variant: Of the run; the recommended one by default.
    """
    asked, home = parse(Constraints, limits), Workspace(workspace)
    if not Path(model).exists() and any(row["id"] == str(model) for row in home.runs()):
        run = Run.of(str(model), home)
        if variant is None and run.best is None:
            raise BadInput(f"The run {run.id} recommends no variant: name one.")
        chosen = run.best if variant is None else run.variant(variant)
        assert chosen is not None
        asked = placed(asked, run.experiment.model.classes)
        chosen = with_robustness([chosen], robustness_of(run.id, home))[0]
        if device not in (None, run.experiment.device):  # of which no sensor measured
            chosen = chosen.model_copy(update={"measured_energy_mj": None})
        return held_against(chosen, asked, device or run.experiment.device, cautious)
    if asked.min_class_recall is not None:
        raise BadInput("Recall is measured by a run, so check that run's id.")
    if packed.is_package(Path(model)):
        found, own = packed.read(Path(model))
        if device not in (None, own) or runtime is not None or variant is not None:
            raise BadInput(f"This package is of {found.id} for {own}: check it without naming another.")
        return held_against(found, asked, own, cautious)
    if device is None:
        raise BadInput("A model's predictions are for a device: name one.")
    predicted = estimate(model, device, runtime=runtime)
    path = Path(model)
    size = path.stat().st_size if path.is_file() else inspect_model(str(model), str(model)).size_bytes
    alone = Variant(id=path.name, technique="", status="done", size_bytes=size, estimates={device: predicted})
    return held_against(alone, asked, device, cautious)


def robustness(
    run: Run | str, *variants: Variant | str, workspace: str | Path | None = None
) -> dict[str, Robustness]:
    """Measures how accurate variants (default: the baseline and what is recommended) stay on corrupted test
    images; returns all that is known of the run's, by id.
    """
    run_id, home = _found(run, workspace)
    return measure_robustness(run_id, home, _ids(variants))


def operators(
    run: Run | str, variant: Variant | str, *, workspace: str | Path | None = None
) -> dict[str, list[OperatorTime]]:
    """Measures where the time of a variant and of the baseline goes on this machine, operator by operator,
    for ONNX files; returns all that is known of the run's, by id.
    """
    run_id, home = _found(run, workspace)
    return time_operators(run_id, home, _ids([variant]))


def package(
    run: Run | str,
    variant: Variant | str | Sequence[Variant | str],
    output: str | Path,
    *,
    reach: float | None = None,
    devices: str | Sequence[str] = (),
    workspace: str | Path | None = None,
) -> Path:
    """Writes the zip that runs a variant on its device, and returns its path; it was run before that. Of
    several variants, or for several devices, each is a package in a folder of its own.

    devices: ids; none: the run's own.
    reach: how much of what it answers alone shall be right (a fraction); below the confidence that gives this
    it answers "unsure", so that a person is asked. None: it always answers.
    """
    # only here, like what writes reports: a run needs neither, and waits for all that is imported
    from deploy.package import build
    from deploy.several import several

    run_id, home = _found(run, workspace)
    names = _ids([variant] if isinstance(variant, str | Variant) else variant)
    if not names:
        raise BadInput("No variant is named: name one or several of the run.")
    found = home.run(run_id)
    targets = [devices] if isinstance(devices, str) else [*devices] or [found.experiment.device]
    built = {(d, name): build(run_id, name, home, reach, d) for d in targets for name in names}
    with writing(output) as target:
        if len(built) > 1:
            several(found, built, target)
        else:
            shutil.copyfile(next(iter(built.values())), target)
    return target.resolve()


def report(run: Run | str, output: str | Path, *, workspace: str | Path | None = None) -> Path:
    """Writes a run's report as HTML, Markdown or PDF, as the ending of `output` says; returns its path."""
    from deploy.report import write as write_report

    run_id, home = _found(run, workspace)
    target = Path(output).expanduser()
    write_report(run_id, target, home)
    return target.resolve()


def export_run(run: Run | str, output: str | Path, *, workspace: str | Path | None = None) -> Path:
    """Writes a run that has ended, with all its files, as one; returns its path."""
    run_id, home = _found(run, workspace)
    with writing(output) as target:
        travel.pack(run_id, home, target)
    return target.resolve()


def import_run(file: str | Path, *, workspace: str | Path | None = None) -> Run:
    """Takes in a run that `export_run` wrote, whole or not at all. Raises BadInput for what is none."""
    home, path = Workspace(workspace), Path(file).expanduser()
    if not path.is_file():
        raise BadInput(f"There is no file {path}: check its name.")
    return Run.of(travel.unpack(path, home), home)


def _found(run: Run | str, workspace: str | Path | None) -> tuple[str, Workspace]:
    """Returns a run's id and where it is: in the workspace that is named, else in its own."""
    if isinstance(run, str):
        return run, Workspace(workspace)
    return run.id, Workspace(workspace or run._home)


def _ids(variants: Sequence[Variant | str]) -> list[str]:
    return [one if isinstance(one, str) else one.id for one in variants]


@contextmanager
def writing(output: str | Path) -> Iterator[Path]:
    """Yields where a file is to be written, its folder made; raises EdgewiseError where it can't be."""
    target = Path(output).expanduser()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield target
    except OSError as error:
        raise EdgewiseError(f"{target} can't be written ({error.strerror}): give another file.") from None
