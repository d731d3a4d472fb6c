"""A variant in the making: its steps, its training, its files."""

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine import memory
from engine.backends.protocol import Network, QuantSpec, Trained, Training
from engine.backends.training import EVALUATED_IMAGES
from engine.frameworks import FRAMEWORKS
from engine.techniques import budget
from engine.techniques.bench import CALIBRATION_IMAGES, Bench
from engine.techniques.shared.encoding import encode
from engine.vocabulary import Artifact, Step, Variant, variant_seed
from models.catalog import sha256_of

MOST_LOOKS = 4  # at the validation part during a training …
LOOKS_SHARE = 0.25  # … that cost this share of it at most
FORWARD_SHARE = 1 / 3  # of what training on an image costs, for looking at one


class Making:
    """A variant in the making: records steps and notes, spends the time budget, writes the artifact."""

    def __init__(self, bench: Bench, variant_id: str):
        self.bench, self.id = bench, variant_id
        self.seed = variant_seed(bench.job.seed, variant_id)
        self.began = time.monotonic()
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.artifacts: list[Artifact] = []
        self.validation: float | None = None
        self.usable = True
        self.figures: dict[str, Any] = {}

    def step(self, what: str, why: str, **parameters: Any) -> None:
        """Records something that was done, with all it takes to do it again."""
        self.steps.append(Step(what=what, parameters=parameters, why=why))

    def note(self, text: str) -> None:
        """Records what the user should know about this variant."""
        self.notes.append(text)

    def progress(self, fraction: float, text: str) -> None:
        """Reports how far this variant is, 0..1."""
        self.bench.send({"kind": "variant_progress", "variant": self.id, "fraction": fraction, "text": text})

    def train(
        self,
        network: Network,
        share: float,
        why: str,
        learning_rate: float,
        teacher: Network | None = None,
        **options: Any,
    ) -> Trained:
        """Fine-tunes with `share` of the technique's seconds, records the executed steps and returns the
        result.

        The seconds become a number of steps by the speed that was measured at the start of the run and what
        this
        network costs beside the baseline: at least 10 steps, at most 12 epochs.
        """
        bench = self.bench
        train, validation = bench.data.labelled()
        steps, batch = self._plan(network, share, teacher is not None, bool(options.get("fake_bits")))
        training = Training(
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            seed=self.seed,
            teacher=None if teacher is None else bench.teacher(teacher),
            evaluations=looks(steps * batch, len(validation.labels)),
            **options,
        )
        began = time.monotonic()
        trained = bench.backend.train(
            network,
            train,
            validation,
            training,
            lambda done: self.progress(done, f"fine-tuning, {done:.0%} of {steps} steps"),
        )
        memory.release()  # one variant may train many times
        self.step(
            "fine_tune",
            why,
            steps=trained.steps,
            batch=batch,
            learning_rate=learning_rate,
            seed=self.seed,
            schedule="cosine",
            optimizer="AdamW",
            distilled=teacher is not None,
            temperature=training.temperature,
            mix=training.mix,
            fake_weight_bits=training.fake_bits,
            fake_activations=training.fake_activations,
            validation_accuracy_before=round(trained.before, 5),
            validation_accuracy_after=round(trained.after, 5),
        )
        self.bench.send(
            {
                "kind": "log",
                "text": (
                    f"{self.id}: {trained.steps} steps of {batch} in "
                    f"{time.monotonic() - began:.1f} s, validation {trained.before:.4f} → {trained.after:.4f}"
                ),
            }
        )
        return trained

    def planned_steps(self, network: Network, share: float, simulated: bool = False) -> int:
        """Returns the optimizer steps that `train` will execute with this network, this share and a
        teacher.
        """
        return self._plan(network, share, True, simulated)[0] if self.bench.data.train is not None else 0

    def _plan(self, network: Network, share: float, taught: bool, simulated: bool) -> tuple[int, int]:
        bench = self.bench
        unanswered = float(np.isnan(bench.teacher_answers()[:, 0]).mean()) if taught else 0.0
        return budget.plan(
            bench.facts,
            bench.backend.cost(network),
            bench.data.labelled()[0].images.shape,
            bench.job.seconds * share,
            unanswered,
            simulated,
        )

    def export(self, network: Network, spec: QuantSpec | None = None, name: str = "model") -> Path:
        """Writes the artifact, adds it to the variant and measures its validation accuracy; returns its
        path.
        """
        folder = self.bench.folder / "artifacts" / self.id
        folder.mkdir(parents=True, exist_ok=True)
        calibration = self.bench.data.calibration.images[:CALIBRATION_IMAGES] if spec else None
        path = self.bench.backend.export(network, spec, calibration, folder / name)
        for file in (path, *self.bench.backend.companions(path)):
            self.add(file)
        self.notes.extend(self.bench.backend.remarks(path))
        if spec is not None and self.bench.data.train is None:
            self.note(
                "No data set was given: calibration used generated images, so accuracy is unknown and may"
                " suffer. Give labelled images to have it measured."
            )
        if self.validation is None:
            self.validation = self.bench.validation_accuracy(
                lambda images: self.bench.backend.predict(path, images)
            )
            if self.validation is not None and (fall := self.bench.fall(self.validation)):
                self.usable = False
                self.note(fall)
        return path

    def add(self, path: Path, decoded: Path | None = None) -> None:
        """Adds a file to the variant's artifacts; the first one added is the primary one."""
        root = self.bench.folder
        self.artifacts.append(
            Artifact(
                path=str(path.relative_to(root)),
                format=path.suffix[1:],
                bytes=path.stat().st_size,
                sha256=sha256_of(path),
                decoded_path=str(decoded.relative_to(root)) if decoded else None,
            )
        )

    def add_coded(self, path: Path, coder: str, why: str) -> None:
        """Adds a written file once more, entropy-coded; a package decodes it to the very same bytes."""
        coded = path.with_suffix(".ewz")
        coded.write_bytes(encode(path.read_bytes(), self.bench.backend.stored_tensors(path)))
        sizes = {"model_bytes": path.stat().st_size, "coded_bytes": coded.stat().st_size}
        self.step("entropy_code", why, coder=coder, **sizes)
        self.add(coded, decoded=path)

    def write(self, status: Literal["done", "failed", "skipped"], reason: str = "") -> None:
        """Tells the run of the finished variant at once, so that a later death of this process loses none."""
        if status == "done" and not self.artifacts:
            status, reason = "failed", "it made no file"
        variant = Variant(
            id=self.id,
            technique=self.bench.job.technique,
            status=status,
            reason=reason,
            usable=self.usable,
            seed=self.seed,
            seconds=round(time.monotonic() - self.began, 2),
            validation_accuracy=self.validation,
            artifacts=self.artifacts if status == "done" else [],
            steps=self.steps,
            notes=self.notes,
            size_bytes=self.artifacts[0].bytes if self.artifacts and status == "done" else None,
            versions=versions(self.bench.facts.framework, self.bench.backend.format.suffix[1:]),
            **self.figures,
        )
        self.bench.send({"kind": "variant_made", "variant": variant.model_dump(mode="json")})


def looks(trained: int, validation: int) -> int:
    """Returns how often a training on so many images looks at a validation part of this size."""
    cost = FORWARD_SHARE * min(EVALUATED_IMAGES, validation)
    return int(np.clip(LOOKS_SHARE * trained / cost, 1, MOST_LOOKS))


def versions(framework: str, format: str) -> dict[str, str]:
    """Returns the versions that a result in this format depends on, Python's included."""
    found, entry = {"python": platform.python_version()}, FRAMEWORKS[framework]
    for package in (*entry.packages, *entry.exports[format].packages):
        try:
            found[package] = version(package)
        except (
            Exception
        ):  # a package under another name on another system (tensorflow-cpu) is simply not listed
            continue
    return found
