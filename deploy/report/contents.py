"""What a report says, as plain data: both templates show the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.report import charts
from engine.errors import BadInput
from engine.judge import figures as f
from engine.judge import limits, words
from engine.judge.asked import measured_ms
from engine.judge.pruning import ENOUGH, Pruned, study
from engine.judge.reasons import times
from engine.run.on_board import OnBoard
from engine.techniques import title_of
from engine.version import VERSION
from engine.vocabulary import Experiment, Robustness, Run, Variant

SHOWN_CLASSES = 5
GOALS = {
    "balanced": "small and fast in equal parts",
    "size": "the smallest file",
    "speed": "the lowest latency",
    "accuracy": "the least loss of accuracy",
}


def contents(run: Run, robust: Mapping[str, Robustness], board: OnBoard) -> dict[str, Any]:
    """Returns the values of a report's template; robust: what was measured on damaged pictures, by variant;
    board: what was on the user's own.

    Raises BadInput for a run without a measured baseline.
    """
    done = [v for v in run.variants if v.status == "done" and v.size_bytes is not None]
    baseline = next((v for v in done if v.id == "baseline"), None)
    if baseline is None:
        raise BadInput("This run has no measured baseline yet, so there is nothing to report.")
    choice = run.recommendation
    chosen_id = (choice.winner or choice.nearest) if choice else None
    chosen = next((v for v in done if v.id == chosen_id), None)
    asked = run.experiment
    pruned = [one for one in study(run.variants) if one.variant.status == "done"]
    pruned = pruned if len(pruned) >= ENOUGH else []
    return {
        "title": f"{asked.model.name} on {words.device_name(asked.device)}",
        "run": run,
        "version": VERSION,
        "question": question(asked),
        "answer": answer(run, chosen, baseline, board),
        "cards": cards(chosen, baseline, asked.device, board) if chosen else [],
        "reasons": choice.reasons if choice else [],
        "flips": [flip.text for flip in choice.flips] if choice else [],
        "doubts": doubts(run, chosen, board),
        "chart": charts.trade_off(done, chosen_id, asked),
        "bars": charts.latencies(_best(done, run), chosen_id, asked.device, board),
        "rows": [row(v, chosen_id, asked.device, board) for v in done],
        "board": board.name if board.how() else "",
        "pruning_chart": charts.pruning(pruned, baseline),
        "pruning": [pruning_row(one, asked.device) for one in pruned],
        "others": [(title_of(v.id), v.id, v.status, v.reason) for v in run.variants if v.status != "done"],
        "measured": measured(run, chosen or baseline, board),
        "predicted": predicted(chosen or baseline, asked.device),
        "recall": recall(chosen, baseline, asked.model.classes) if chosen else [],
        "robust": damaged(robust, chosen_id),
        "steps": chosen.steps if chosen else [],
        "next_steps": next_steps(run, chosen),
        "hashes": hashes(run, chosen),
        "versions": (chosen or baseline).versions,
    }


def question(asked: Experiment) -> str:
    """Returns what the run was asked."""
    data = f" on {words.dataset_name(asked.dataset)}" if asked.dataset else ""
    return (
        f"Which form of {asked.model.name}{data} is best on {words.device_name(asked.device)}, for"
        f" {GOALS[asked.goal.value]}, with {limits.in_words(asked.constraints)}?"
    )


def answer(run: Run, chosen: Variant | None, baseline: Variant, board: OnBoard) -> str:
    """Returns the answer in one sentence."""
    if chosen is None:
        return "None yet: the run has no recommendation."
    met = bool(run.recommendation and run.recommendation.winner)
    start = (
        title_of(chosen.id) if met else f"No variant keeps every limit; the nearest is {title_of(chosen.id)}"
    )
    if chosen.id == baseline.id:
        return f"{start}, unchanged: no variant does better within the limits."
    size = times((baseline.size_bytes or 1) / (chosen.size_bytes or 1), "smaller", "larger")
    found = chosen.estimates.get(run.experiment.device)
    time = f", predicted to take {f.ms(found.latency_ms)} an image" if found and found.latency_ms else ""
    if (ms := board.ms(chosen.id)) is not None:
        time += f", measured as {f.ms(ms)} on {board.name}"
    return f"{start}: {size}{time}, {words.accuracy(chosen)}."


def cards(chosen: Variant, baseline: Variant, device: str, board: OnBoard) -> list[tuple[str, str, str]]:
    """Returns the three figures of the answer: what, figure, beside the baseline's."""
    where, ours, theirs = words.device_name(device), _accuracy(chosen), _accuracy(baseline)
    known = f.interval(chosen.accuracy_low, chosen.accuracy_high, 100, 1)
    beside = f"{known}{f.NBSP}% with 95 % confidence; your model {theirs}"
    if chosen.accuracy is None:
        beside = "the run had no labelled images"
    there = [(v, ms) for v in (chosen, baseline) if (ms := board.ms(v.id)) is not None]
    beside_there = ", ".join(f"your model {f.ms(ms)}" if v == baseline else f.ms(ms) for v, ms in there)
    found, before = chosen.estimates.get(device), baseline.estimates.get(device)
    ends = f"{f.interval(found.low_ms, found.high_ms)}; " if found and found.latency_ms else ""
    return [
        ("Accuracy on test images", ours, beside),
        ("Size of the file", f.size(chosen.size_bytes), f"your model {f.size(baseline.size_bytes)}"),
        (
            f"Predicted latency on {where}",
            f.ms(found.latency_ms if found else None),
            f"{ends}your model {f.estimate(before)}" + (f"; measured there: {beside_there}" if there else ""),
        ),
    ]


def doubts(run: Run, chosen: Variant | None, board: OnBoard) -> list[str]:
    """Returns what to know about the chosen variant, and first of all which ones answer wrongly there."""
    found = [
        f"{title_of(id)} ({id}) gives wrong answers on {board.name}: {why}."
        for id, why in board.wrong().items()
    ]
    return found + (words.doubts(chosen, run.experiment.model.classes) + chosen.notes if chosen else [])


def row(variant: Variant, chosen: str | None, device: str, board: OnBoard) -> dict[str, Any]:
    """Returns one line of the table of variants."""
    found = variant.estimates.get(device)
    return {
        "title": title_of(variant.id),
        "id": variant.id,
        "chosen": variant.id == chosen,
        "accuracy": _accuracy(variant),
        "drop": f.points(variant.accuracy_drop_pp),
        "drop_interval": f.interval(variant.accuracy_drop_low_pp, variant.accuracy_drop_high_pp, 1, 2),
        "size": f.size(variant.size_bytes),
        "compressed": f.size(variant.compressed_bytes),
        "macs": f.number(variant.macs),
        "measured": f.ms(measured_ms(variant)),
        "predicted": f.estimate(found),
        "on_board": f.ms(board.ms(variant.id)),
        "on_board_mj": f.with_unit(board.mj(variant.id), "mJ") if board.mj(variant.id) else "",
        "verdict": words.misses(variant) or ("recommended" if variant.id == chosen else ""),
    }


def pruning_row(one: Pruned, device: str) -> tuple[str, ...]:
    """Returns one line of the pruning study: what, how, share, accuracy, drop, its interval, sizes, times."""
    v = one.variant
    return (
        one.kind,
        one.way.replace(" ", f.NBSP),
        f"{100 * one.share:g}{f.NBSP}%",
        f.percent(v.accuracy),
        f.points(v.accuracy_drop_pp),
        _ends(v.accuracy_drop_low_pp, v.accuracy_drop_high_pp),
        f.size(v.size_bytes),
        f.size(v.compressed_bytes),
        f.estimate(v.estimates.get(device)),
        f.ms(measured_ms(v)),
    )


def measured(run: Run, variant: Variant, board: OnBoard) -> list[str]:
    """Returns what was measured, and on what."""
    asked, host = run.experiment, variant.host
    found = [
        f"Accuracy: the file itself, on {variant.test_images:,} test images that no technique saw."
        if variant.test_images
        else "Accuracy: not measured, because the run had no labelled images.",
        "Size: the bytes of the file that goes to the device; compressed, as a ZIP would carry it.",
    ]
    if variant.calibration_error is not None:
        off = f.percent(variant.calibration_error)
        found.append(f"Confidence: off by {off} on average (expected calibration error, test images).")
    if host and host.latency_ms:
        found.append(
            f"Latency on this machine: {_runtime(host.runtime)} {host.runtime_version},"
            f" {_threads(host.threads)}, all variants in turn in one process, p50 of one image."
        )
    if how := board.how():
        found.append(how + (f" {_sensor(board)}" if _sensor(board) else ""))
    found.append(
        f"The run took {f.duration(run.seconds)}, seed {asked.seed}, time budget"
        f" {f.duration(asked.time_budget_s)}."
    )
    return found


def predicted(variant: Variant, device: str) -> list[str]:
    """Returns what was predicted for the device, and how well that is known."""
    found, where = variant.estimates.get(device), words.device_name(device)
    if found is None or found.latency_ms is None:
        return [f"Nothing is predicted for {where}" + (f": {found.why}" if found else ".")]
    sentences = [
        f"Latency on {where} is a prediction for {_runtime(found.runtime)} with {_threads(found.threads)};"
        f" the interval is meant to hold {found.coverage:.0%} of true values.",
        f"It rests on {found.why.rstrip('.')}.",
    ]
    if found.memory_mb is not None:
        sentences.append(f"Memory is predicted as {f.with_unit(found.memory_mb, 'MB')}.")
    if not found.calibrated_with:
        sentences.append(
            "The package's benchmark.py measures on the device; `calibrate` then corrects every prediction."
        )
    return sentences


def recall(chosen: Variant, baseline: Variant, classes: Sequence[str]) -> list[tuple[str, str, str]]:
    """Returns the classes that the chosen variant is worst at: name, its recall, the baseline's."""
    ours, theirs = chosen.per_class_recall, baseline.per_class_recall
    known = sorted((value, i) for i, value in enumerate(ours) if value is not None)
    return [
        (
            classes[i] if i < len(classes) else f"class {i}",
            f.percent(value),
            f.percent(theirs[i] if i < len(theirs) else None),
        )
        for value, i in known[:SHOWN_CLASSES]
    ]


def damaged(robust: Mapping[str, Robustness], chosen: str | None) -> list[tuple[str, str, str]]:
    """Returns how accurate the chosen variant stays by kind of damage: kind, its accuracy, the baseline's."""
    if chosen is None or chosen not in robust or "baseline" not in robust:
        return []
    ours, theirs = robust[chosen], robust["baseline"]
    rows = [("as they are", f.percent(ours.clean), f.percent(theirs.clean))]
    for kind, row in ours.corrupted.items():
        other = theirs.corrupted.get(kind, row)
        rows.append((kind, f.percent(sum(row) / len(row)), f.percent(sum(other) / len(other))))
    return rows


def next_steps(run: Run, chosen: Variant | None) -> list[str]:
    """Returns what to do with the answer."""
    if chosen is None:
        return ["Let the run finish."]
    device = words.device_name(run.experiment.device)
    found = [
        f"Take it to the device: python -m engine package {run.id} {chosen.id} --output package.zip",
        f"On {device}, run verify.py of the package, which shows that it answers as it did here, then"
        " benchmark.py.",
        f"Correct the predictions: python -m engine calibrate {run.experiment.device} result.json",
    ]
    if "measured" in chosen.kept.values():
        found.insert(0, "Give more test images: a limit is kept as measured, and not yet for sure.")
    return found


def hashes(run: Run, chosen: Variant | None) -> list[tuple[str, str]]:
    """Returns the sums by which a file is known again."""
    model = run.experiment.model
    return [
        (f"uploaded model {model.name}", model.sha256),
        *((artifact.path, artifact.sha256) for artifact in (chosen.artifacts if chosen else [])),
    ]


def _best(done: list[Variant], run: Run) -> list[Variant]:
    """The baseline, then the best of the ranking, as many as a glance takes."""
    by_id = {v.id: v for v in done}
    ranked = run.recommendation.ranking if run.recommendation else []
    order = dict.fromkeys(["baseline", *ranked[: charts.MOST_BARS]])
    return [by_id[name] for name in order if name in by_id][: charts.MOST_BARS]


def _sensor(board: OnBoard) -> str:
    """Returns by what the energies there were measured, "" without any."""
    one = next((m.middle.energy for m in board.found.values() if m.middle and m.middle.energy), None)
    return (one and f"Millijoules of one image: {one.sensor}, {one.covers}.") or ""


def _ends(low: float | None, high: float | None) -> str:
    """Returns an interval that may begin below zero."""
    return f.NONE if low is None or high is None else f"{low:.2f}{f.NBSP}to{f.NBSP}{high:.2f}"


def _accuracy(variant: Variant) -> str:
    return f.percent(variant.accuracy, variant.accuracy_low, variant.accuracy_high)


def _runtime(name: str) -> str:
    return words.RUNTIMES.get(name, name)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
