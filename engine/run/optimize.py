"""The run, readable top-down: baseline first, then technique after technique, each behind the wall; then
measurements, estimates and the recommendation. It imports no framework.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from engine import runtimes
from engine.ask import lacks
from engine.backends.protocol import Facts
from engine.errors import EdgewiseError
from engine.events import Event
from engine.judge.recommend import recommend
from engine.run.elsewhere import Away, Elsewhere, Sent
from engine.run.measuring import measure, time_all
from engine.run.plan import (
    expected_seconds,
    grace_s,
    needs_sensitivity,
    pace_path,
    sensitivity_seconds,
    teacher_seconds,
    training_seconds,
)
from engine.run.requests import FACTS, FindFacts, FindSensitivity, MakeVariants
from engine.run.stress import stress
from engine.run.supervisor import Supervisor, variants_of
from engine.run.templates import Templates
from engine.run.weighing import Weighing
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.techniques.technique import Technique
from engine.vocabulary import Experiment, LayerSensitivity, Pace, Variant
from estimator.devices import load_device

FACTS_LIMIT_S = 300
SPEEDS = ("step_s", "image_s", "evaluate_images_per_s")
TOLERANCE = 0.005  # of validation accuracy, where the user sets no limit
NOT_MADE = "it was not made"
LIMIT_SHARE = 0.7  # some of a limit is left for the difference between validation and test images


class Sensitivity(BaseModel):
    """The sensitivity of each layer, or why there is none."""

    rows: tuple[LayerSensitivity, ...] = ()
    reason: str = ""


def optimize(
    experiment: Experiment,
    workspace: Workspace,
    run_id: str,
    on_event: Callable[[Event], None],
    templates: Templates | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[Variant]:
    """Runs an experiment in its folder and returns its variants; finished ones of an interrupted run are
    kept.

    templates: of this experiment, where somebody has begun them already; they end with the run. elsewhere:
    other machines that make its techniques; what is measured is measured here all the same. Raises
    EdgewiseError when the baseline can't be made; a technique's failure is its variants' own.
    """
    with templates or Templates(experiment, workspace.folder(run_id) / "worker.log") as templates:
        run = Supervisor(experiment, workspace, run_id, on_event, templates)
        with Weighing(run) as weighing:
            go_through(run, weighing, elsewhere)
    return workspace.variants(run_id)


def go_through(run: Supervisor, weighing: Weighing, elsewhere: Elsewhere | None = None) -> None:
    """Takes a run through all its stages. Raises EdgewiseError when the baseline can't be made."""
    experiment, facts = run.experiment, look_over(run)
    run.templates.measure()  # while the baseline is made
    pace = plan(run, facts)
    teacher_s = teacher_seconds(pace.training_s, experiment.time_budget_s)
    make_baseline(run, facts, weighing, teacher_s)
    if elsewhere is None:
        sensitivity = make_all(run, facts, pace, lambda *asked: stage(run, weighing, *asked))
    else:
        sensitivity = make_elsewhere(run, facts, pace, weighing, elsewhere)
    if sensitivity is None and needs_sensitivity(experiment.techniques):
        run.skip("sensitivity", "no technique that needs it can be used on this model")
    time_all(run, weighing)
    if experiment.constraints.max_robust_drop_pp is not None:
        stress(run)
    conclude(run, sensitivity or Sensitivity())


def make_all(
    run: Supervisor, facts: Facts, pace: Pace, make: Callable[[MakeVariants, float], None]
) -> Sensitivity | None:
    """Goes through the techniques and has each one made that can be: `make(request, limit_s)`. Returns the
    sensitivity of each layer where one of them needed it.
    """
    sensitivity = None
    for technique in map(TECHNIQUES.__getitem__, run.experiment.techniques):
        if reason := why_not(run, technique, facts):
            run.skip_technique(technique, reason)
            continue
        if sensitivity is None and needs_sensitivity([technique.id]):
            sensitivity = find_sensitivity(run, facts, pace.sensitivity_s)
        rows = sensitivity.rows if sensitivity is not None else ()
        make(*request_for(run, technique.id, facts, pace.training_s.get(technique.id, 0.0), rows))
    return sensitivity


def make_elsewhere(
    run: Supervisor, facts: Facts, pace: Pace, weighing: Weighing, elsewhere: Elsewhere
) -> Sensitivity | None:
    """Has the techniques made on other machines, side by side, and measures here what comes back; what nobody
    is there for is made here.
    """
    asked: dict[str, tuple[MakeVariants, float]] = {}
    with Sent(run, elsewhere) as sent:

        def send(request: MakeVariants, limit_s: float) -> None:
            asked[request.technique] = request, limit_s
            if not run.is_line_finished(request.technique):
                sent.send(request, limit_s)

        sensitivity = make_all(run, facts, pace, send)
        for line, error in sent.come_back():
            if isinstance(error, Away):
                run.log(line, str(error))
                stage(run, weighing, *asked.pop(line))
            else:
                finish(run, line, weighing, str(error or NOT_MADE))
                del asked[line]
    for line in asked:  # finished before this run went on
        run.end_technique(line)
    return sensitivity


def make_baseline(run: Supervisor, facts: Facts, weighing: Weighing, teacher_s: float) -> None:
    """Makes the baseline, for another runtime where it can't be written for the one that was chosen. Raises
    EdgewiseError when there is none that it can be written for.
    """
    stage(run, weighing, *request_for(run, "baseline", facts, teacher_s))
    if (baseline := run.variants["baseline"]).status != "done" and run.takes_usual_runtime(baseline.reason):
        stage(run, weighing, *request_for(run, "baseline", facts, teacher_s))
    if (baseline := run.variants["baseline"]).status != "done":
        raise EdgewiseError(f"The model could not be exported: {baseline.reason}.")


def look_over(run: Supervisor) -> Facts:
    """Prepares the data set and finds out what the network is and how fast it trains here."""
    run.begin("baseline")
    run.prepare_data("baseline")
    kept = run.folder / "cache" / "facts.json"
    try:
        return FACTS.validate_python(read_json(kept))
    except ValidationError:  # not found out yet
        pace = run.experiment.pace
        trains = pace is None and any(TECHNIQUES[name].trains for name in run.experiment.techniques)
        answer = run.ask(FindFacts(**run.common(), trains=trains), "baseline", FACTS_LIMIT_S)
    try:
        found = FACTS.validate_python(answer)
    except ValidationError:
        raise EdgewiseError("The model could not be looked over: its process answered nonsense.") from None
    if pace is not None:
        found = replace(found, **pace.model_dump(include=set(SPEEDS)))
    write_json(kept, FACTS.dump_python(found, mode="json"))
    return found


def why_not(run: Supervisor, technique: Technique, facts: Facts) -> str:
    """Returns why a technique can't be used in this run, or an empty string."""
    return technique.why_not(facts) or lacks(technique, run.experiment.model, run.experiment.dataset)


def plan(run: Supervisor, facts: Facts) -> Pace:
    """Splits the time budget over the techniques that train, or as the run did that this one repeats; the
    result is kept, by which this run can be repeated.
    """
    chosen, budget_s = run.experiment.techniques, run.experiment.time_budget_s
    trained = [t for t in chosen if TECHNIQUES[t].trains and not why_not(run, TECHNIQUES[t], facts)]
    pace = run.experiment.pace or Pace(
        **{name: getattr(facts, name) for name in SPEEDS},
        training_s=training_seconds(trained, budget_s),
        sensitivity_s=sensitivity_seconds(budget_s),
    )
    write_json(pace_path(run.folder), pace.model_dump(mode="json"))
    converts = runtimes.converts(run.experiment.model, run.experiment.runtime)
    run.plan(expected_seconds(chosen, pace.training_s, budget_s, converts))
    return pace


def request_for(
    run: Supervisor,
    line: str,
    facts: Facts,
    seconds: float = 0.0,
    sensitivity: tuple[LayerSensitivity, ...] = (),
) -> tuple[MakeVariants, float]:
    """Returns what a child is asked that makes one technique (or the baseline), and the seconds that it is
    given.
    """
    device = load_device(run.experiment.device)
    request = MakeVariants(
        **run.common(),
        technique=line,
        facts=facts,
        sensitivity=sensitivity,
        seed=run.experiment.seed,
        seconds=seconds,
        tolerance=tolerance(run.experiment),
        dot_product=device.dot_product,
        channel_multiple=device.channel_multiple(
            runtimes.format_of(run.experiment.model, run.experiment.runtime)
        ),
        device=device.id,
        calibration=run.calibrations.get(device.id),
        constraints=run.experiment.constraints,
        cautious=run.experiment.cautious,
    )
    return request, seconds * 3 + grace_s(facts) * len(variants_of(line))


def stage(run: Supervisor, weighing: Weighing, asked: MakeVariants, limit_s: float) -> None:
    """Runs one technique (or the baseline) in a child of its own and measures what it made."""
    line = asked.technique
    if run.is_line_finished(line):
        run.end_technique(line)
        return
    if line != "baseline":  # it began when the run did
        run.begin(line)
    if asked.seconds:
        weighing.wait()  # training has its time, and the machine to itself
    reason = NOT_MADE
    try:
        run.ask(asked, line, limit_s)
    except EdgewiseError as error:
        reason = str(error)
    finish(run, line, weighing, reason)


def finish(run: Supervisor, line: str, weighing: Weighing, reason: str) -> None:
    """Measures what a technique made, wherever that was; what it did not make has failed for this reason."""
    measure(run, line, weighing)  # what was finished before a child died is a variant like any other
    run.fail_unfinished(line, reason)
    run.end_technique(line)


def tolerance(experiment: Experiment) -> float:
    """Returns the validation accuracy that searches may give up: most of the user's limit, or 0.5 pp."""
    limit = experiment.constraints.max_accuracy_drop_pp
    return TOLERANCE if limit is None else LIMIT_SHARE * limit / 100


def find_sensitivity(run: Supervisor, facts: Facts, seconds: float) -> Sensitivity:
    """Finds the sensitivity of each layer once a run. A run goes on without it if that fails, and the failure
    is kept with its reason, so that nobody waits for it again.
    """
    kept = run.folder / "cache" / "sensitivity.json"
    found = _kept_sensitivity(kept)
    if found is None:
        run.begin("sensitivity")
        found = _find_sensitivity(run, facts, seconds)
        write_json(kept, found.model_dump(mode="json"))
    run.end("sensitivity", found.reason)
    return found


def _kept_sensitivity(path: Path) -> Sensitivity | None:
    data = read_json(path)
    try:
        # an older Edgewise kept the bare rows
        return Sensitivity.model_validate({"rows": data} if isinstance(data, list) else data)
    except ValidationError:
        return None


def _find_sensitivity(run: Supervisor, facts: Facts, seconds: float) -> Sensitivity:
    if run.experiment.dataset is None:
        return Sensitivity(reason="it needs labelled images, and this run has none: choose a data set")
    asked = FindSensitivity(**run.common(), facts=facts, seed=run.experiment.seed, seconds=seconds)
    try:
        return Sensitivity.model_validate(run.ask(asked, "sensitivity", grace_s(facts) + 5 * seconds))
    except EdgewiseError as error:
        return Sensitivity(reason=str(error))
    except ValidationError:
        return Sensitivity(reason="its process answered with something else than it was asked for")


def conclude(run: Supervisor, sensitivity: Sensitivity) -> None:
    """Ranks the variants and writes the recommendation and the sensitivity."""
    e = run.experiment
    found = run.workspace.variants(run.id)
    choice = recommend(found, e.constraints, e.goal, e.device, e.cautious, e.weights)
    run.workspace.write_result(
        run.id,
        recommendation=choice.model_dump(mode="json"),
        sensitivity=[row.model_dump(mode="json") for row in sensitivity.rows],
    )
