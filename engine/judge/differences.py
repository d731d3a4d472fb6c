"""Two runs beside each other: what was asked and what came out, row by row."""

from dataclasses import dataclass

from engine.judge import figures as f
from engine.judge.asked import measured_ms
from engine.judge.limits import in_words
from engine.judge.words import dataset_name, device_name
from engine.vocabulary import Run, Variant

MISSING = f.NONE


@dataclass(frozen=True)
class Row:
    """One thing of two runs, as people read it."""

    what: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        """Whether the two runs differ in it."""
        return self.first != self.second


def side_by_side(first: Run, second: Run) -> list[Row]:
    """Returns what was asked of both runs, then the figures of each variant that either has."""
    asked = [_asked(run) for run in (first, second)]
    rows = [Row(what, asked[0][what], asked[1][what]) for what in asked[0]]
    variants = [{v.id: v for v in run.variants} for run in (first, second)]
    for name in dict.fromkeys([*variants[0], *variants[1]]):
        told = [_figures(found.get(name), run) for found, run in zip(variants, (first, second), strict=True)]
        rows += [Row(f"{name}: {what}", told[0][what], told[1][what]) for what in told[0]]
    return rows


def _asked(run: Run) -> dict[str, str]:
    e = run.experiment
    choice = run.recommendation
    return {
        "model": e.model.name,
        "model's SHA-256": e.model.sha256[:16],
        "data set": dataset_name(e.dataset) if e.dataset else MISSING,
        "device": device_name(e.device),
        "runtime": e.runtime or MISSING,
        "goal": e.goal.value,
        "limits": in_words(e.constraints),
        "techniques": ", ".join(e.techniques),
        "seed": str(e.seed),
        "time budget": f.duration(e.time_budget_s),
        "state": run.state,
        "took": f.duration(run.seconds),
        "recommended": (choice.winner if choice else None) or MISSING,
    }


def _figures(variant: Variant | None, run: Run) -> dict[str, str]:
    done = variant is not None and variant.status == "done"
    known = variant if done else None
    estimate = known.estimates.get(run.experiment.device) if known else None
    return {
        "status": variant.status if variant else "not asked for",
        "accuracy": f.percent(known.accuracy, 0, 0) if known else MISSING,
        "size": f.size(known.size_bytes) if known else MISSING,
        "measured": f.ms(measured_ms(known)) if known else MISSING,
        "predicted": f.estimate(estimate) if known else MISSING,
    }
