"""The run, readable top-down: baseline first, then technique after technique, each behind the wall; then
measurements,
estimates and the recommendation. A supervisor: it imports no framework.
"""

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.ask import lacks
from engine.backends import Facts, LayerInfo
from engine.errors import BadInput, EdgewiseError
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
from engine.judge.estimates import estimates_for
from engine.judge.recommend import judge, recommend
from engine.memory import lots, needed_bytes
from engine.run.plan import (
    expected_seconds,
    grace_s,
    needs_sensitivity,
    sensitivity_seconds,
    training_seconds,
)
from engine.store.workspace import Workspace, read_json, write_json
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment, Host, Latency, LayerSensitivity, Variant
from engine.wall import processes, sandbox
from engine.wall.sandbox import Failed, Limits, Watch
from estimator import capability
from estimator.types import Profile

THREADS = (
    1  # one thread is timed: what a device's single core does, and the steadiest figure on a shared machine
)
WORK_THREADS = 2
DOT_PRODUCT_DEVICES = ("raspberry_pi_5",)  # Cortex-A76: the dot-product instructions of ARMv8.2
TOLERANCE, LIMIT_SHARE = (
    0.005,
    0.7,
)  # some of a limit is left for the difference between validation and test images


def optimize(
    experiment: Experiment, workspace: Workspace, run_id: str, on_event: Callable[[Event], None]
) -> list[Variant]:
    """Runs an experiment in its folder and returns its variants; finished ones of an interrupted run are
    kept.

    Raises EdgewiseError when the baseline can't be made; a technique's failure is its variants' own.
    """
    run = _Run(experiment, workspace, run_id, on_event)
    facts = run.look_over()
    run.plan(facts)
    run.stage("baseline", facts)
    if run.variant("baseline").status != "done":
        raise EdgewiseError(f"The model could not be exported: {run.variant('baseline').reason}.")
    for technique in map(TECHNIQUES.get, experiment.techniques):
        reason = technique.why_not(facts) or lacks(technique, experiment.model, experiment.dataset)
        if reason:
            run.skip(technique, reason)
            continue
        if "sensitivity" in technique.needs:
            run.sensitivity(facts)
        run.stage(technique.id, facts)
    run.close_sensitivity()
    run.time_all()
    run.conclude()
    return workspace.variants(run_id)


class _Run:
    """The state of one run in progress: its folder, its events, its children."""

    def __init__(
        self, experiment: Experiment, workspace: Workspace, run_id: str, on_event: Callable[[Event], None]
    ):
        self.experiment, self.workspace, self.id, self.on_event = experiment, workspace, run_id, on_event
        self.folder = workspace.folder(run_id)
        self.framework = experiment.model.framework
        self.seconds: dict[str, float] = {}
        self.peak = 0
        self.has_sensitivity = False

    # ---- children ------------------------------------------------------------------------------------------

    def child(self, task: str, line: str, limit_s: float, **request: Any) -> dict:
        """Runs one task behind the wall; its messages become events of `line`."""
        began = time.monotonic()

        def on_message(message: dict) -> None:
            self.on_event(self._heard(message, line, began))

        def on_memory(used: int) -> None:
            total = used + processes.own_bytes()
            if total > 1.02 * self.peak:
                self.peak = total
                self.on_event(MemoryPeak(bytes=total))

        watch = Watch(
            on_message=on_message,
            on_memory=on_memory,
            on_start=lambda pid: self.on_event(ProcessStarted(**processes.identity(pid), what=line)),
        )
        data_set = self.experiment.dataset
        return sandbox.run(
            "engine.run.tasks",
            {
                "task": task,
                "folder": str(self.folder),
                "home": str(self.workspace.home),
                "dataset": data_set,
                "model": self.experiment.model.model_dump(mode="json"),
                "seed": self.experiment.seed,
                "threads": WORK_THREADS,
                "tolerance": self.tolerance(),
                "dot_product": self.experiment.device in DOT_PRODUCT_DEVICES,
                **request,
            },
            Limits(
                memory_bytes=needed_bytes(self.experiment.model),
                seconds=limit_s,
                threads=WORK_THREADS,
                network=task == "prepare_data",
                programs=task == "prepare_data",
            ),
            watch,
            self.folder / "worker.log",
        )

    def _heard(self, message: dict, line: str, began: float) -> Event:
        """Turns a child's message into an event of its line, whatever line the message itself may name.
        Raises Failed for one that a child has no right to send, or that is not shaped like one.
        """
        try:
            match message["kind"]:
                case "log":
                    return Logged(technique=line, text=message["text"])
                case "progress":
                    fraction, text = message["fraction"], message["text"]
                    return ProgressMade(technique=line, fraction=fraction, text=text)
                case "variant_started" | "variant_progress":
                    return self._progress(message, line, began)
        except (KeyError, TypeError, ValueError):
            pass
        raise Failed("its process sent something that is no message of a run")

    def _progress(self, message: dict, line: str, began: float) -> ProgressMade:
        """Turns progress within a variant into progress of its line."""
        variants = TECHNIQUES[line].variants if line in TECHNIQUES else (line,)
        place = variants.index(message["variant"]) if message["variant"] in variants else 0
        fraction = (place + message.get("fraction", 0.0)) / len(variants)
        elapsed = time.monotonic() - began
        expected = self.seconds.get(line, 10.0)
        remaining = max(1.0, elapsed * (1 - fraction) / fraction if fraction > 0.15 else expected - elapsed)
        return ProgressMade(
            technique=line,
            fraction=fraction,
            remaining_s=remaining,
            text=f"{message['variant']}: {message.get('text', 'starting')}",
        )

    def tolerance(self) -> float:
        """Returns the validation accuracy that searching techniques may give up: most of the user's limit, or
        0.5 pp.
        """
        limit = self.experiment.constraints.max_accuracy_drop_pp
        return TOLERANCE if limit is None else LIMIT_SHARE * limit / 100

    # ---- stages --------------------------------------------------------------------------------------------

    def look_over(self) -> Facts:
        """Prepares the data set and finds out what the network is and how fast it trains here."""
        self.begin("baseline")
        if self.experiment.dataset is not None:
            self.child("prepare_data", "baseline", 1800, dataset=self.experiment.dataset)
        kept = self.folder / "cache" / "facts.json"
        plain = read_json(kept)
        if plain is None:
            plain = self.child("facts", "baseline", 300)
            write_json(kept, plain)
        layers = tuple(LayerInfo(**{**layer, "shape": tuple(layer["shape"])}) for layer in plain["layers"])
        self.plain_facts = plain
        return Facts(**{**plain, "layers": layers})

    def plan(self, facts: Facts) -> None:
        """Splits the time budget over the techniques that train; the split is what progress is weighed by."""
        chosen = self.experiment.techniques
        trained = [
            t
            for t in chosen
            if TECHNIQUES[t].trains
            and not (
                TECHNIQUES[t].why_not(facts)
                or lacks(TECHNIQUES[t], self.experiment.model, self.experiment.dataset)
            )
        ]
        self.training = training_seconds(trained, self.experiment.time_budget_s)
        self.seconds = expected_seconds(chosen, self.training, self.experiment.time_budget_s)
        self.on_event(PlanMade(seconds=self.seconds))

    def stage(self, name: str, facts: Facts) -> None:
        """Runs one technique (or the baseline) in a child of its own and measures what it made."""
        wanted = TECHNIQUES[name].variants if name in TECHNIQUES else (name,)
        if all(self.is_finished(variant) for variant in wanted):
            self.end(name, wanted)
            return
        self.begin(name)
        share = self.training.get(name, 0.0)
        try:
            self.child(
                "technique",
                name,
                share * 3 + grace_s(self.plain_facts) * len(wanted),
                technique=name,
                facts=self.plain_facts,
                seconds=share,
            )
            self.tell_made(name, wanted)
            self.measure(name, wanted)
        except (Failed, BadInput) as error:
            self.tell_made(name, wanted)
            self.measure_one_by_one(name, wanted)
            self.fail(name, wanted, str(error))
        self.end(name, wanted)

    def sensitivity(self, facts: Facts) -> None:
        """Computes the per-layer sensitivity once; a run goes on without it if that fails, and a failure is
        remembered with its reason, so that nobody waits for it again.
        """
        if self.has_sensitivity:
            return
        self.has_sensitivity = True
        kept = self.folder / "cache" / "sensitivity.json"
        found = read_json(kept)
        if found is None:
            self.begin("sensitivity")
            found = self._sensitivity(facts)
            write_json(kept, found)
        reason = found.get("reason", "") if isinstance(found, dict) else ""
        self.on_event(
            LineChanged(
                technique="sensitivity",
                status="failed" if reason else "done",
                reason=reason,
            )
        )

    def close_sensitivity(self) -> None:
        """Ends the line of the sensitivity where every technique that needs it was skipped."""
        if needs_sensitivity(self.experiment.techniques) and not self.has_sensitivity:
            reason = "no technique that needs it can be used on this model"
            self.on_event(LineChanged(technique="sensitivity", status="skipped", reason=reason))

    def _sensitivity(self, facts: Facts) -> list | dict:
        """Returns the rows as plain data, or `{"reason"}`."""
        if not facts.labelled:
            return {"reason": "it needs labelled images, and this run has none: choose a data set"}
        seconds = sensitivity_seconds(self.experiment.time_budget_s)
        try:
            self.child(
                "technique",
                "sensitivity",
                grace_s(self.plain_facts) + 5 * seconds,
                technique="sensitivity",
                facts=self.plain_facts,
                seconds=seconds,
            )
        except EdgewiseError as error:
            return {"reason": str(error)}
        rows = read_json(self.folder / "cache" / "sensitivity.json") or []
        self.workspace.write_result(self.id, sensitivity=rows)
        return rows

    # ---- lines and variants --------------------------------------------------------------------------------

    def begin(self, name: str) -> None:
        self.on_event(LineChanged(technique=name, status="working"))

    def end(self, name: str, wanted: tuple[str, ...]) -> None:
        made = [self.variant(v) for v in wanted]
        good = [v for v in made if v.status == "done"]
        status = "done" if good else made[0].status
        self.on_event(
            LineChanged(
                technique=name,
                status=status,
                reason="" if good else made[0].reason,
            )
        )

    def variant(self, variant_id: str) -> Variant:
        return Variant(
            **(
                read_json(self.folder / "variants" / f"{variant_id}.json")
                or {
                    "id": variant_id,
                    "technique": variant_id.split("@")[0],
                    "status": "failed",
                    "reason": "it was not made",
                }
            )
        )

    def tell_made(self, name: str, wanted: tuple[str, ...]) -> None:
        """Says which variants a child has written, in their order; they are not measured yet."""
        for variant_id in wanted:
            if found := read_json(self.folder / "variants" / f"{variant_id}.json"):
                self.on_event(VariantWritten(technique=name, variant=variant_id, status=found["status"]))

    def is_finished(self, variant_id: str) -> bool:
        found = read_json(self.folder / "variants" / f"{variant_id}.json")
        return bool(found) and (found["status"] != "done" or found["parameters"] is not None)

    def skip(self, technique, reason: str) -> None:
        for variant_id in technique.variants:
            self.workspace.write_variant(
                self.id, Variant(id=variant_id, technique=technique.id, status="skipped", reason=reason)
            )
            self.on_event(VariantWritten(technique=technique.id, variant=variant_id, status="skipped"))
        self.on_event(LineChanged(technique=technique.id, status="skipped", reason=reason))

    def fail(self, name: str, wanted: tuple[str, ...], reason: str) -> None:
        """What a dead child left unfinished becomes "failed, because …"."""
        for variant_id in wanted:
            if not self.is_finished(variant_id):
                self.workspace.write_variant(
                    self.id, Variant(id=variant_id, technique=name, status="failed", reason=reason)
                )
                self.on_event(VariantWritten(technique=name, variant=variant_id, status="failed"))

    # ---- measuring -----------------------------------------------------------------------------------------

    def measure_one_by_one(self, name: str, wanted: tuple[str, ...]) -> None:
        """Measures what is there after a child died, each alone, so that a file that no runtime survives
        fails alone.
        """
        for variant_id in wanted:
            try:
                self.measure(name, (variant_id,))
            except (Failed, BadInput) as error:
                self.fail(name, (variant_id,), f"it could not be measured: {error}")

    def measure(self, name: str, wanted: tuple[str, ...]) -> None:
        """Measures a technique's variants on the test part and gives them a first, provisional timing."""
        new = [v for v in map(self.variant, wanted) if v.status == "done" and v.parameters is None]
        if not new:
            return
        exact = {v.id: self.needs_exact(v) for v in new}
        artifacts = {v.id: v.artifacts[0].model_dump() for v in new}
        figures = self.child("accuracy", name, 900, artifacts=artifacts, exact=exact)
        timed = ([] if name == "baseline" else [self.variant("baseline")]) + new
        hosts = self.child(
            "timing",
            name,
            300,
            threads=THREADS,
            seconds=0.5 * len(timed),
            paths={v.id: self.runs(v) for v in timed},
        )
        for variant in new:
            found = figures[variant.id]
            zeros = found.pop("zero_share")
            remarks = found.pop("remarks", [])
            host = hosts[variant.id] | {
                "latency_ms": Latency(**hosts[variant.id]["latency_ms"]),
                "interleaved": False,
            }
            found["compressed_bytes"] = min(
                [found["compressed_bytes"], *(a.bytes for a in variant.artifacts if a.runs_as)]
            )
            updated = variant.model_copy(
                update=found
                | {
                    "host": Host(**host),
                    "sparsity": variant.sparsity if variant.sparsity is not None else zeros,
                    **self.on_devices(variant),
                }
            )
            updated.notes.extend(remarks)
            if exact[variant.id]:
                updated.notes.append(
                    "Its full 8-bit range is for the device's dot-product instructions; this processor would"
                    " saturate, so accuracy was measured with exact arithmetic."
                )
            self.write(judge(updated, self.experiment))

    def needs_exact(self, variant: Variant) -> bool:
        """Tells whether an INT8 file of full range must not be measured with this processor's saturating
        kernels.
        """
        from engine.techniques.workbench import host_has_dot_product

        quantized = any(
            step.what == "quantize_static" and step.parameters.get("reduced_range") is False
            for step in variant.steps
        )
        return quantized and self.runs(variant).endswith(".onnx") and not host_has_dot_product()

    def runs(self, variant: Variant) -> str:
        return variant.artifacts[0].runs_as or variant.artifacts[0].path

    def on_devices(self, variant: Variant) -> dict:
        """Predicts this artifact on every device from its own profile and says whether the run's device takes
        it.
        """
        plain = read_json(self.folder / Path(self.runs(variant)).with_suffix(".profile.json"))
        if plain is None:
            return {}
        try:
            found = Profile(**plain)
            return {
                "estimates": estimates_for(found, self.workspace),
                "capability": capability.check(self.experiment.device, found.precision, found),
            }
        except Exception as error:  # what was measured stands without what can't be predicted
            traceback.print_exc()
            self.on_event(
                Logged(
                    technique=variant.technique,
                    text=(
                        f"no estimate for {variant.id}, because of an error in the estimator"
                        f" ({type(error).__name__}: {error})"
                    ),
                )
            )
            return {}

    def write(self, variant: Variant) -> None:
        self.workspace.write_variant(self.id, variant)
        self.on_event(
            VariantWritten(
                technique=variant.technique,
                variant=variant.id,
                status=variant.status,
            )
        )

    def time_all(self) -> None:
        """Times all artifacts interleaved in one child (in several, each with the baseline, where they do not
        fit into memory
        together), and each alone for its peak memory."""
        done = [
            v for v in self.workspace.variants(self.id) if v.status == "done" and v.parameters is not None
        ]
        self.begin("timing")
        hosts, reasons = self._time_in_lots(done)
        for number, variant in enumerate(done):
            # what a lost lot held keeps its first, provisional timing
            host = hosts.get(variant.id, variant.host).model_copy(
                update={"peak_memory_bytes": self._peak_memory(self.runs(variant))}
            )
            self.write(judge(variant.model_copy(update={"host": host}), self.experiment))
            self.on_event(
                ProgressMade(
                    technique="timing",
                    fraction=(number + 1) / len(done),
                    text=f"peak memory of {variant.id}",
                )
            )
        self.on_event(
            LineChanged(
                technique="timing",
                status="failed" if reasons else "done",
                reason="; ".join(reasons),
            )
        )

    def _time_in_lots(self, done: list[Variant]) -> tuple[dict[str, Host], list[str]]:
        """Returns the final timing by variant, and why a lot has none: what the others gave is kept."""
        hosts: dict[str, Host] = {}
        reasons = []
        for lot in lots({v.id: v.parameters for v in done}, needed_bytes(self.experiment.model)):
            try:
                timed = self.child(
                    "timing",
                    "timing",
                    600,
                    threads=THREADS,
                    seconds=min(60.0, 1.0 * len(lot)),
                    paths={v.id: self.runs(v) for v in done if v.id in lot},
                )
            except EdgewiseError as error:
                reasons.append(str(error))
                continue
            now = {name: Host(**host) for name, host in timed.items()}
            self._tell_difference(lot[0], hosts, now)
            hosts = now | hosts
        return hosts, reasons

    def _tell_difference(self, name: str, before: dict[str, Host], now: dict[str, Host]) -> None:
        """Says how much an artifact's second timing differs from the first, which stands."""
        if name in before:
            was, is_ = (hosts[name].latency_ms.p50 for hosts in (before, now))
            self.on_event(
                Logged(
                    technique="timing",
                    text=(
                        "not all variants fit into memory together, so they were timed in lots, "
                        f"each with {name}: {was:.3f} ms in the first lot, {is_:.3f} ms in this one"
                    ),
                )
            )

    def _peak_memory(self, path: str) -> int | None:
        try:
            return self.child("memory", "timing", 120, threads=THREADS, path=path)["peak_memory_bytes"]
        except EdgewiseError as error:
            self.on_event(Logged(technique="timing", text=f"peak memory of {path} failed: {error}"))
            return None

    def conclude(self) -> None:
        """Ranks the variants and writes the recommendation and the sensitivity."""
        e = self.experiment
        choice = recommend(self.workspace.variants(self.id), e.constraints, e.goal, e.device, e.cautious)
        found = read_json(self.folder / "cache" / "sensitivity.json")
        rows = found if isinstance(found, list) else []
        self.workspace.write_result(
            self.id,
            recommendation=choice.model_dump(mode="json"),
            sensitivity=[LayerSensitivity(**row).model_dump(mode="json") for row in rows],
        )
