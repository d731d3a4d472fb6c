"""Figures of a run's variants: accuracy and contents, a first timing, predictions, the last timing."""

import traceback
from typing import Any

from pydantic import ValidationError

from engine.errors import EdgewiseError
from engine.judge import words
from engine.judge.estimates import estimates_for
from engine.judge.limits import judge
from engine.memory import lots, needed_bytes
from engine.run.made import check_files, holds_int4, profile_path
from engine.run.requests import (
    FIGURES,
    HOSTS,
    Figures,
    MeasureAccuracy,
    TimeArtifacts,
)
from engine.run.supervisor import Supervisor, variants_of
from engine.run.weighing import Weighing
from engine.runtimes import saturates_here
from engine.store.files import write_json
from engine.vocabulary import Host, Variant
from engine.wall.sandbox import Failed
from estimator import capability
from estimator.types import Profile

ACCURACY_LIMIT_S, TIMING_LIMIT_S, LAST_TIMING_LIMIT_S = 900, 300, 600
FIRST_S, LAST_S, LAST_MOST_S = 0.5, 1.0, 60.0  # of timing an artifact; all together in the last timing
FIRST_ROUNDS, LAST_ROUNDS = 100, 400  # the first timing is provisional, and the last one is what is shown
# what `measure.classification` gives; nothing else of a variant may come from that child
ACCURACY = (
    *("accuracy", "accuracy_low", "accuracy_high", "accuracy_drop_pp"),
    *("accuracy_drop_low_pp", "accuracy_drop_high_pp", "p_value", "worst_class_recall"),
    *("per_class_recall", "confusion", "test_images", "calibration_error", "answered"),
)
FULL_RANGE = (
    "Its full 8-bit range is for the device's dot-product instructions; this processor would saturate, so"
    " accuracy was measured with exact arithmetic."
)


def measure(run: Supervisor, line: str, weighing: Weighing) -> None:
    """Measures what a technique made: all its files together, or each alone where one breaks the process that
    measures, so that a file that no runtime survives fails alone.
    """
    new = _unmeasured(run, line)
    try:
        _measure(run, line, new, weighing)
    except EdgewiseError:
        for variant in new:
            try:
                _measure(run, line, [variant], weighing)
            except EdgewiseError as error:
                reason = f"it could not be measured: {error}"
                run.write(Variant(id=variant.id, technique=line, status="failed", reason=reason))


def _unmeasured(run: Supervisor, line: str) -> list[Variant]:
    found = [run.variants[name] for name in variants_of(line) if name in run.variants]
    return [variant for variant in found if variant.status == "done" and variant.parameters is None]


def _measure(run: Supervisor, line: str, new: list[Variant], weighing: Weighing) -> None:
    """Measures variants on the test part and gives them a first, provisional timing beside the baseline."""
    if not new:
        return
    for variant in new:
        check_files(variant, run.folder)  # the child that made them is gone and can't change them any more
    exact = tuple(variant.id for variant in new if saturates_here(variant))
    artifacts = {variant.id: variant.artifacts[0] for variant in new}
    asked = MeasureAccuracy(**run.common(), artifacts=artifacts, exact=exact)
    figures = _read(FIGURES, run.ask(asked, line, ACCURACY_LIMIT_S))
    for variant in new:
        if variant.id in figures and figures[variant.id].profile is not None:
            write_json(profile_path(variant, run.folder), figures[variant.id].profile)
    timed = new if line == "baseline" else [run.variants["baseline"], *new]
    weighing.wait()
    hosts = _timed(run, line, timed, (FIRST_S * len(timed), FIRST_ROUNDS), TIMING_LIMIT_S)
    for variant in new:
        if variant.id not in figures or variant.id not in hosts:
            raise Failed("its process left out a variant")
        measured = _with_figures(run, variant, figures[variant.id], hosts[variant.id])
        notes = [
            *measured.notes,
            *words.doubts(measured, run.experiment.model.classes),
            *([FULL_RANGE] if variant.id in exact else []),
            *([run.experiment.runtime_note] if line == "baseline" and run.experiment.runtime_note else []),
        ]
        baseline = measured if line == "baseline" else run.variants["baseline"]
        usable = measured.usable and not words.has_forgotten(measured, baseline)
        run.write(judge(measured.model_copy(update={"notes": notes, "usable": usable}), run.experiment))
        weighing.begin(variant.id, variant.artifacts[0].opened, holds_int4(variant, run.folder))


def _with_figures(run: Supervisor, variant: Variant, found: Figures, host: Host) -> Variant:
    """Returns the variant with all that was measured, checked against what a variant may hold."""
    encoded = [artifact.bytes for artifact in variant.artifacts if artifact.decoded_path]
    known = variant.model_dump() | {name: found.accuracy[name] for name in ACCURACY if name in found.accuracy}
    known |= found.model_dump(include={"parameters", "nonzero_parameters", "macs"})
    known |= {
        "compressed_bytes": min([found.compressed_bytes, *encoded]),
        "sparsity": found.zero_share if variant.sparsity is None else variant.sparsity,
        "host": host.model_copy(update={"interleaved": False}),
        "notes": [*variant.notes, *found.remarks],
        **_on_devices(run, variant, found.profile),
    }
    try:
        return Variant.model_validate(known)
    except ValidationError:
        raise Failed("its process answered with something that is no figure") from None


def _read(kind: Any, answer: dict[str, Any]) -> Any:
    """Returns a child's answer as what it must be; raises Failed when it is something else."""
    try:
        return kind.validate_python(answer)
    except ValidationError:
        raise Failed("its process answered with something else than it was asked for") from None


def _on_devices(run: Supervisor, variant: Variant, profile: dict[str, Any] | None) -> dict[str, Any]:
    """Predicts this artifact on every device from its own profile, and says whether the run's device takes
    it. What was measured stands without what can't be predicted.
    """
    if profile is None:
        return {}
    try:
        found = Profile(**profile)
        return {
            "estimates": estimates_for(found, run.calibrations),
            "capability": capability.check(run.experiment.device, found.precision, found),
        }
    except Exception as error:
        traceback.print_exc()
        run.log(
            variant.technique,
            f"no estimate for {variant.id}, because of an error in the estimator"
            f" ({type(error).__name__}: {error})",
        )
        return {}


def _timed(
    run: Supervisor, line: str, variants: list[Variant], most: tuple[float, int], limit_s: float
) -> dict[str, Host]:
    """Returns the timing by variant; `most`: seconds and rounds, whichever is over first."""
    paths = {variant.id: variant.artifacts[0].opened for variant in variants}
    int4 = tuple(variant.id for variant in variants if holds_int4(variant, run.folder))
    asked = TimeArtifacts(**run.common(), paths=paths, int4=int4, seconds=most[0], rounds=most[1])
    hosts: dict[str, Host] = _read(HOSTS, run.ask(asked, line, limit_s))
    return hosts


# ---- at the end of the run ---------------------------------------------------------------------------------


def time_all(run: Supervisor, weighing: Weighing) -> None:
    """Times all artifacts interleaved in one child (in several, each with the baseline, where they do not fit
    into memory together), and takes in their peak memory. What can't be timed keeps its first timing.
    """
    run.begin("timing")
    done = [
        variant
        for variant in run.workspace.variants(run.id)
        if variant.status == "done" and variant.parameters is not None
    ]
    weighing.wait()
    hosts, reasons = _time_in_lots(run, done)
    for variant in done:  # those of an interrupted run were measured by another worker
        weighing.begin(variant.id, variant.artifacts[0].opened, holds_int4(variant, run.folder))
    for number, variant in enumerate(done):
        if (host := hosts.get(variant.id, variant.host)) is not None:
            host = host.model_copy(update={"peak_memory_bytes": weighing.peak_bytes(variant.id)})
            run.write(judge(variant.model_copy(update={"host": host}), run.experiment))
        run.progress("timing", (number + 1) / len(done), f"peak memory of {variant.id}")
    run.end("timing", "; ".join(reasons))


def _time_in_lots(run: Supervisor, done: list[Variant]) -> tuple[dict[str, Host], list[str]]:
    """Returns the final timing by variant, and why a lot has none: what the others gave is kept."""
    hosts: dict[str, Host] = {}
    reasons = []
    sizes = {variant.id: variant.parameters or 0 for variant in done}
    for lot in lots(sizes, needed_bytes(run.experiment.model)):
        members = [variant for variant in done if variant.id in lot]
        try:
            most = (min(LAST_MOST_S, LAST_S * len(lot)), LAST_ROUNDS)
            now = _timed(run, "timing", members, most, LAST_TIMING_LIMIT_S)
        except EdgewiseError as error:
            reasons.append(str(error))
            continue
        _tell_difference(run, lot[0], hosts, now)
        hosts = now | hosts
    return hosts, reasons


def _tell_difference(run: Supervisor, name: str, before: dict[str, Host], now: dict[str, Host]) -> None:
    """Says how much an artifact's second timing differs from the first, which stands."""
    was, is_ = (hosts[name].latency_ms if name in hosts else None for hosts in (before, now))
    if was and is_:
        run.log(
            "timing",
            "not all variants fit into memory together, so they were timed in lots, each with"
            f" {name}: {was.p50:.3f} ms in the first lot, {is_.p50:.3f} ms in this one",
        )
