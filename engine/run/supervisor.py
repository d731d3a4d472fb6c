"""One run in progress: its folder, its variants, its events, and its children behind the wall.

It imports no framework, and it is the only one that writes the run's variants.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from engine import datasets, runtimes
from engine.ask import too_few
from engine.events import (
    Event,
    LineChanged,
    Logged,
    MemoryPeak,
    PlanMade,
    ProcessStarted,
    ProgressMade,
    VariantWritten,
)
from engine.memory import needed_bytes
from engine.run import made
from engine.run.prepare import prepare, wanted
from engine.run.requests import MakeVariants, OfRun, of_run
from engine.run.templates import Templates
from engine.store.calibrations import calibrations_in
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.techniques.technique import Technique
from engine.vocabulary import Experiment, Variant
from engine.wall import processes, sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Watch

USUAL_S = 10.0  # of a line that the plan does not name
LEAST_FRACTION = 0.15  # of a line's work; before it, its own speed says nothing of what is left
NOTED_GROWTH = 1.02  # a new peak of memory is an event from this much on
LEAST_BETWEEN_S = 0.1  # two events of progress; nobody sees more, and every poll would read them


def variants_of(line: str) -> tuple[str, ...]:
    """Returns the ids of the variants that belong to a line: a technique's own, or the baseline."""
    return promised_by(line) + (TECHNIQUES[line].spare if line in TECHNIQUES else ())


def promised_by(line: str) -> tuple[str, ...]:
    """Returns the ids of the variants that a line makes, fails or skips, and no spare ones."""
    return TECHNIQUES[line].variants if line in TECHNIQUES else (line,)


class Supervisor:
    """The state of one run in progress."""

    def __init__(
        self,
        experiment: Experiment,
        workspace: Workspace,
        run_id: str,
        on_event: Callable[[Event], None],
        templates: Templates,
    ):
        self.experiment, self.workspace, self.id, self.templates = experiment, workspace, run_id, templates
        self._on_event, self._telling = on_event, threading.Lock()
        self.folder = workspace.folder(run_id)
        self.variants = {variant.id: variant for variant in workspace.variants(run_id)}
        self.expected_s: dict[str, float] = {}  # by line, as the plan has it
        self.calibrations = calibrations_in(workspace)  # one run is judged by one truth
        self._peak_bytes = 0
        self._told_progress = 0.0

    # ---- children ------------------------------------------------------------------------------------------

    def common(self) -> dict[str, Any]:
        """Returns what every request of this run carries."""
        return of_run(self.experiment, self.folder, self.workspace.home)

    def ask(self, request: OfRun, line: str, limit_s: float) -> dict[str, Any]:
        """Has a child answer a request behind the wall; what it says meanwhile becomes events of `line`.

        Raises BadInput for what the child found wrong with its input, Failed for every other end.
        """
        watch, log = self._watch(line, request.task), self.folder / "worker.log"
        limits, template = self._limits(request, limit_s), self.templates.of(request.task)
        return sandbox.run("engine.run.tasks", request.sent(), limits, watch, log, template)

    def ask_elsewhere(
        self, request: MakeVariants, line: str, limit_s: float, make: Callable[..., None]
    ) -> None:
        """As `ask`, of another machine (see `engine.run.elsewhere`); the line begins when one begins."""

        lost: list[str] = []

        def begun(machine: str) -> Watch:
            self.begin(line)
            self.log(line, f"{lost[-1]} was lost: made again on {machine}" if lost else f"made on {machine}")
            lost.append(machine)
            return self._watch(line, request.task)

        make(request, self._limits(request, limit_s), begun)

    def _limits(self, request: OfRun, limit_s: float) -> Limits:
        memory = needed_bytes(self.experiment.model)
        return Limits(memory, limit_s, threads=request.threads, programs=False)

    def prepare_data(self, line: str) -> None:
        """Makes the run's data set ready, and says what it has too little of; its progress is that of
        `line`.
        """
        e, home = self.experiment, self.workspace.home
        if e.dataset is None:
            return
        watch = self._watch(line, "prepare_data")
        prepare(e.dataset, home, e.model, watch, self.folder / "worker.log")
        made = datasets.describe(e.dataset, home, **wanted(e.dataset, e.model))
        for sentence in too_few(made, e.techniques):
            self.log(line, sentence)

    def _watch(self, line: str, task: str) -> Watch:
        began = time.monotonic()
        return Watch(
            on_message=lambda message: self._hear(message, line, began),
            on_memory=lambda used: self._note_memory(used + self.templates.resident_bytes(task)),
            on_start=lambda pid: self.on_event(ProcessStarted(**processes.identity(pid), what=line)),
        )

    def _note_memory(self, others_bytes: int) -> None:
        total = others_bytes + processes.own_bytes()
        if total > NOTED_GROWTH * self._peak_bytes:
            self._peak_bytes = total
            self.on_event(MemoryPeak(bytes=total))

    def _hear(self, message: dict[str, Any], line: str, began: float) -> None:
        """Takes a child's message, one that the wall let through, as said of its own line and no other."""
        match message["kind"]:
            case "log":
                self.log(line, message["text"])
            case "variant_made":
                self.write(made.checked(message["variant"], line, variants_of(line), self.folder))
            case "progress":
                self._progress(line, message["fraction"], message.get("text", ""))
            case _:
                self._progress_of_variant(message, line, began)

    def _progress_of_variant(self, message: dict[str, Any], line: str, began: float) -> None:
        """Turns progress within a variant into progress of its line."""
        variants = promised_by(line)
        place = variants.index(message["variant"]) if message["variant"] in variants else len(variants) - 1
        fraction = (place + message.get("fraction", 0.0)) / len(variants)
        elapsed_s = time.monotonic() - began
        if fraction > LEAST_FRACTION:
            remaining_s = elapsed_s * (1 - fraction) / fraction
        else:
            remaining_s = self.expected_s.get(line, USUAL_S) - elapsed_s
        text = f"{message['variant']}: {message.get('text', 'starting')}"
        self._progress(line, fraction, text, max(1.0, remaining_s))

    def _progress(self, line: str, fraction: float, text: str, remaining_s: float | None = None) -> None:
        now = time.monotonic()
        if now - self._told_progress >= LEAST_BETWEEN_S:
            self._told_progress = now
            self.progress(line, fraction, text, remaining_s)

    # ---- events --------------------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Tells an event; several children may be watched at the same time."""
        with self._telling:
            self._on_event(event)

    def plan(self, expected_s: dict[str, float]) -> None:
        """Tells how long each line is expected to take, which is what progress is weighed by."""
        self.expected_s = expected_s
        self.on_event(PlanMade(seconds=expected_s))

    def begin(self, line: str) -> None:
        """Tells that a line is at work."""
        self.on_event(LineChanged(technique=line, status="working"))

    def end(self, line: str, reason: str = "") -> None:
        """Tells that a line is done, or failed for a reason."""
        self.on_event(LineChanged(technique=line, status="failed" if reason else "done", reason=reason))

    def skip(self, line: str, reason: str) -> None:
        """Tells that a line is left out."""
        self.on_event(LineChanged(technique=line, status="skipped", reason=reason))

    def progress(self, line: str, fraction: float, text: str, remaining_s: float | None = None) -> None:
        """Tells how far a line is, 0..1."""
        self.on_event(ProgressMade(technique=line, fraction=fraction, text=text, remaining_s=remaining_s))

    def log(self, line: str, text: str) -> None:
        """Writes a sentence into the run's log."""
        self.on_event(Logged(technique=line, text=text))

    # ---- the runtime ---------------------------------------------------------------------------------------

    def takes_usual_runtime(self, reason: str) -> bool:
        """Goes on for the runtime that the model's framework usually writes for, because its files can't be
        made for the one that was chosen; returns False where that is the usual one.
        """
        e, usual = self.experiment, runtimes.offered(self.experiment.model)[0]
        if e.runtime in (None, usual):
            return False
        note = runtimes.instead(e.runtime, usual, reason)
        self.experiment = e.model_copy(update={"runtime": usual, "runtime_note": note})
        self.workspace.write_runtime(self.id, usual, note)
        self.log("baseline", note)
        del self.variants["baseline"]
        return True

    # ---- variants ------------------------------------------------------------------------------------------

    def write(self, variant: Variant) -> None:
        """Writes one variant, over an earlier version of itself, and tells of it."""
        self.variants[variant.id] = variant
        self.workspace.write_variant(self.id, variant)
        self.on_event(VariantWritten(technique=variant.technique, variant=variant.id, status=variant.status))

    def is_finished(self, variant_id: str) -> bool:
        """Tells whether a variant needs no more work: it was measured, failed or skipped."""
        found = self.variants.get(variant_id)
        return found is not None and (found.status != "done" or found.parameters is not None)

    def is_line_finished(self, line: str) -> bool:
        """Tells whether all variants of a line are finished, spare ones where they were made."""
        due = (*promised_by(line), *(name for name in variants_of(line) if name in self.variants))
        return all(map(self.is_finished, due))

    def fail_unfinished(self, line: str, reason: str) -> None:
        """What a dead child left unfinished becomes "failed, because …"."""
        for variant_id in promised_by(line):
            if not self.is_finished(variant_id):
                self.write(Variant(id=variant_id, technique=line, status="failed", reason=reason))

    def skip_technique(self, technique: Technique, reason: str) -> None:
        """Skips all variants of a technique."""
        for variant_id in technique.variants:
            self.write(Variant(id=variant_id, technique=technique.id, status="skipped", reason=reason))
        self.skip(technique.id, reason)

    def end_technique(self, line: str) -> None:
        """Ends a technique's line by what became of its variants."""
        found = [self.variants[name] for name in variants_of(line) if name in self.variants]
        if any(variant.status == "done" for variant in found):
            self.end(line)
        elif found and found[0].status == "skipped":
            self.skip(line, found[0].reason)
        else:
            self.end(line, found[0].reason if found else "it made nothing")
