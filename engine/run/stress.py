"""What variants lose on damaged pictures, measured in the run itself where a limit is about that."""

from engine.errors import BadInput, EdgewiseError
from engine.judge.limits import check, judge
from engine.run.robustness import LIMIT_S, MOST_VARIANTS, asked_of, kept, robustness_of, with_robustness
from engine.run.supervisor import Supervisor
from engine.vocabulary import Variant


def stress(run: Supervisor) -> None:
    """Measures what variants lose on damaged pictures, where a limit is about that; a run goes on without."""
    run.begin("robustness")
    known = robustness_of(run.id, run.workspace)
    done = [v for v in run.workspace.variants(run.id) if v.status == "done" and v.parameters is not None]
    # a variant that breaks another limit needs no measuring
    new = [v for v in done if v.id not in known and v.id in ("baseline", *_may_keep(run, done))]
    reason = ""
    try:
        if run.experiment.dataset is None:
            raise BadInput("it needs labelled images, and this run has none: choose a data set")
        for start in range(0, len(new), MOST_VARIANTS):
            request = asked_of(run.common(), run.folder, new[start : start + MOST_VARIANTS])
            known |= kept(run.ask(request, "robustness", LIMIT_S), request, run.folder)
    except EdgewiseError as error:
        reason = str(error)
    for variant in with_robustness(done, known):
        run.write(judge(variant, run.experiment))
    run.end("robustness", reason)


def _may_keep(run: Supervisor, done: list[Variant]) -> list[str]:
    e = run.experiment
    others = e.constraints.model_copy(update={"max_robust_drop_pp": None})
    return [v.id for v in done if check(v, others, e.device, e.cautious)[0] != "no"]
