"""What a technique works with, inside its child process: the network, the data (never the test part), a share
of the
time budget, and `variant(id)`, which turns what a technique does into a finished, recorded variant.
"""

import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from engine import memory
from engine.backends.backend import Backend
from engine.backends.images import TRAINED_SHARE, images_at_once
from engine.backends.protocol import Facts, Network, QuantSpec, Trained, Training
from engine.backends.training import Teacher
from engine.datasets import Part
from engine.errors import EdgewiseError
from engine.frameworks import FRAMEWORKS
from engine.judge import measure
from engine.vocabulary import Artifact, LayerSensitivity, ModelFile, Step, Variant, variant_seed
from models.catalog import sha256_of

MAX_EPOCHS = 12
LOOP_STEP_S = 0.003  # what a step of the smallest network takes
# beyond a share of the time budget in which work may go on piece by piece; the wall allows more, for the last
# one
LEEWAY_S = 90.0
SIMULATION_COST = 3  # simulated rounding goes over the weights, and back, once more each
VALIDATION_IMAGES = 2_000
CALIBRATION_IMAGES = 300


@dataclass
class Data:
    """The parts a technique may see; train and validation are None when the run has no data set."""

    train: Part | None
    validation: Part | None
    calibration: Part


class NotApplicable(EdgewiseError):
    """A variant does not apply to this network; it is skipped with the message as the reason."""


class Workbench:
    """One technique's place of work. See the module's first lines.

    `seconds` is its share of the time budget, `tolerance` the validation accuracy (a fraction) that a search
    for the
    smallest variant may give up.
    """

    def __init__(
        self,
        technique: str,
        model: ModelFile,
        backend: Backend,
        facts: Facts,
        data: Data,
        folder: Path,
        seed: int,
        seconds: float,
        tolerance: float,
        dot_product: bool,
        send: Callable[[dict], None],
        sensitivity: Iterable[LayerSensitivity] = (),
    ):
        self.technique, self.model, self.backend, self.facts, self.data = (
            technique,
            model,
            backend,
            facts,
            data,
        )
        self.folder, self.run_seed, self.seconds, self.send = folder, seed, seconds, send
        self.tolerance, self.dot_product = tolerance, dot_product
        self._sensitivity = tuple(sensitivity)
        self.began = time.monotonic()
        self._network: Network | None = None

    def has_time(self) -> bool:
        """Tells a search whether it may try one more network, or the sensitivity whether there is time for
        one more layer:
        while the share of the time budget lasts, and a little longer, because other work than training comes
        on top.
        """
        return time.monotonic() - self.began < self.seconds + LEEWAY_S

    def network(self) -> Network:
        """Returns the baseline network; primitives never change it, so it is opened once."""
        if self._network is None:
            self._network = self.backend.load(self.model)
        return self._network

    def sensitivity(self, change: str) -> dict[str, LayerSensitivity]:
        """Returns the run's sensitivity for one kind of change (`int8`, `int4`, `prune`), by layer."""
        return {row.layer: row for row in self._sensitivity if row.change == change}

    def validation_accuracy(
        self, predict: Callable[[np.ndarray], np.ndarray], most: int = VALIDATION_IMAGES
    ) -> float | None:
        """Returns the accuracy of `predict(images)` on the first `most` validation images; None without
        data.
        """
        if self.data.validation is None:
            return None
        images, labels = self.data.validation.images[:most], self.data.validation.labels[:most]
        return measure.accuracy(predict(images).argmax(axis=1), labels)

    def fall(self, accuracy: float) -> str:
        """Returns a sentence where this validation accuracy is chance and the uploaded network's is not."""
        if self.technique == "baseline" or self.data.validation is None:
            return ""
        labels = self.data.validation.labels[:VALIDATION_IMAGES]
        if not measure.fell_to_chance(1.0, accuracy, labels):
            return ""  # not low at all: the uploaded network need not be asked
        before = self.validation_accuracy(lambda images: self.backend.logits(self.network(), images))
        if before is None or not measure.fell_to_chance(before, accuracy, labels):
            return ""
        return (
            f"Its accuracy fell to chance: {accuracy:.1%} of the validation images are right, of your model's"
            f" {before:.1%}. This setting can't be used on this network."
        )

    def calibration_images(self) -> int:
        """Returns how many images set the ranges of activations."""
        return min(CALIBRATION_IMAGES, len(self.data.calibration.images))

    @property
    def needs_7_bits(self) -> bool:
        """Whether 8-bit weights must keep to 7 bits here."""
        return range_of_weights(self.backend.format.saturates, self.dot_product)[0]

    @property
    def range_reason(self) -> str:
        """Why 8-bit weights keep to 7 bits, or need not."""
        return range_of_weights(self.backend.format.saturates, self.dot_product)[1]

    def trial(self, network: Network, spec: QuantSpec) -> float | None:
        """Exports to a temporary place and returns the validation accuracy in the artifact's own runtime."""
        with tempfile.TemporaryDirectory() as folder:
            images = self.data.calibration.images[:CALIBRATION_IMAGES]
            path = self.backend.export(network, spec, images, Path(folder) / "trial")
            return self.validation_accuracy(lambda images: self.backend.predict(path, images))

    def teacher(self, network: Network) -> Teacher:
        """Returns the baseline as a teacher of the training images."""
        return Teacher(
            lambda images: self.backend.logits(network, images),
            self.data.train.images,
            self.teacher_answers(),
        )

    def teacher_answers(self) -> np.ndarray:
        """Returns the baseline's logits for the training images, float32 [n, classes], NaN where not computed
        yet.

        The file is shared by the run's techniques, so that no image is shown to the teacher twice.
        """
        path = self.folder / "cache" / "teacher.npy"
        if not path.exists():
            shape = (len(self.data.train.labels), len(self.model.classes))
            np.save(path, np.full(shape, np.nan, np.float32))
        return np.load(path, mmap_mode="r+")

    def keep(self, name: str, network: Network) -> None:
        """Keeps a network for the run's later techniques."""
        self.backend.save(network, self.folder / "cache", name)

    def kept(self, name: str) -> Network | None:
        """Returns a network that an earlier technique of this run kept, or None."""
        if not (self.folder / "cache" / f"{name}.json").exists():
            return None
        return self.backend.restore(self.model, self.folder / "cache", name)

    @contextmanager
    def variant(self, variant_id: str) -> Iterator["Making"]:
        """Opens one variant. What goes wrong inside becomes its "failed, because …" and the next one goes
        on.
        """
        making = Making(self, variant_id)
        self.send({"kind": "variant_started", "variant": variant_id})
        try:
            yield making
            making.write("done")
        except NotApplicable as error:
            making.write("skipped", str(error))
        except EdgewiseError as error:
            making.write("failed", str(error))
        except MemoryError:
            raise  # the whole child is short of memory; the wall says so
        except Exception as error:
            import traceback

            traceback.print_exc()
            making.write("failed", f"{type(error).__name__}: {str(error).strip()[:300]}")
        finally:
            memory.release()


class Making:
    """A variant in the making: records steps and notes, spends the time budget, writes the artifact."""

    def __init__(self, bench: Workbench, variant_id: str):
        self.bench, self.id = bench, variant_id
        self.seed = variant_seed(bench.run_seed, variant_id)
        self.began = time.monotonic()
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.artifacts: list[Artifact] = []
        self.validation: float | None = None
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
        if bench.data.train is None or bench.data.validation is None:
            raise NotApplicable("it trains, and this run has no labelled images: choose a data set")
        steps, batch = self._plan(network, share, teacher is not None, bool(options.get("fake_bits")))
        training = Training(
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            seed=self.seed,
            teacher=None if teacher is None else bench.teacher(teacher),
            **options,
        )
        began = time.monotonic()
        trained = bench.backend.train(
            network,
            bench.data.train,
            bench.data.validation,
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
        macs, parameters = bench.backend.cost(network)
        # the update of the weights costs by their number; narrow layers wait for memory, so that their passes
        # cost by the
        # number of activations, which falls with the width where the MACs fall with its square
        weights_s = bench.facts.step_s * parameters / max(1, bench.facts.parameters)
        step_s = max(LOOP_STEP_S, weights_s * (SIMULATION_COST if simulated else 1))
        image_s = bench.facts.image_s * (macs / max(1, bench.facts.macs)) ** 0.5
        most = images_at_once(*bench.data.train.images.shape[1:3], TRAINED_SHARE)
        count = len(bench.data.train.labels)
        # the teacher answers each image once, when it first comes up: the larger plan is the one that allows
        # for it rightly
        teacher_s = (
            float(np.isnan(bench.teacher_answers()[:, 0]).mean())
            / max(1.0, bench.facts.evaluate_images_per_s)
            if taught
            else 0.0
        )
        within_an_epoch = plan_steps(step_s, image_s + teacher_s, bench.seconds * share, count, most)
        beyond = plan_steps(step_s, image_s, bench.seconds * share - teacher_s * count, count, most)
        return max(within_an_epoch, beyond, key=lambda plan: plan[0] * plan[1])

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

    def write(self, status: str, reason: str = "") -> None:
        """Tells the run of the finished variant at once, so that a later death of this process loses none."""
        if status == "done" and not self.artifacts:
            status, reason = "failed", "it made no file"
        variant = Variant(
            id=self.id,
            technique=self.bench.technique,
            status=status,
            reason=reason,
            seed=self.seed,
            seconds=round(time.monotonic() - self.began, 2),
            validation_accuracy=self.validation,
            artifacts=self.artifacts if status == "done" else [],
            steps=self.steps,
            notes=self.notes,
            size_bytes=self.artifacts[0].bytes if self.artifacts and status == "done" else None,
            versions=versions(self.bench.facts.framework),
            **self.figures,
        )
        self.bench.send({"kind": "variant_made", "variant": variant.model_dump(mode="json")})


def plan_steps(
    step_s: float, image_s: float, seconds: float, images: int, most: int = 128
) -> tuple[int, int]:
    """Returns optimizer steps and batch size for `seconds` of training on `images` images.

    step_s: what a step costs whatever its batch, image_s: what each image adds. The batch is the largest of
        32, 64 and
    128 that leaves 150 steps, so that a cosine schedule can work; where none does, the smallest one whose
    images cost as
    much as the step itself, so that a large network's short budget is not spent on updates. `most` caps it.
    """

    def steps(batch: int) -> int:
        return int(seconds / max(step_s + image_s * batch, 1e-9))

    ample = [batch for batch in (128, 64, 32) if steps(batch) >= 150]
    worth = [batch for batch in (32, 64, 128) if image_s * batch >= step_s]
    batch = min((ample or worth or [128])[0], images, most)
    return max(10, min(steps(batch), MAX_EPOCHS * images // batch)), batch


def range_of_weights(saturates: bool, dot_product: bool) -> tuple[bool, str]:
    """Returns whether 8-bit weights must keep to 7 bits, and the reason for either answer.

    saturates: whether the format's kernels add products in 16 bits where the processor has no dot-product
    instructions. dot_product: whether the device has them; then the full range is right for it, whatever this
    processor does.
    """
    if not saturates:
        return False, "full range: the runtime adds 8-bit products in 32 bits on every processor"
    if dot_product:
        return False, "full range: the device has dot-product instructions"
    if host_has_dot_product():
        return (
            False,
            "full range: this processor adds 8-bit products without saturation (VNNI or dot product)",
        )
    return True, "reduced range: this processor's 8-bit multiply-add saturates at 16 bits (AVX2 without VNNI)"


def host_has_dot_product() -> bool:
    """Tells whether this processor multiplies and adds 8-bit numbers without saturating at 16 bits."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return platform.machine() == "arm64"  # Apple's processors all have dot-product instructions
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"})


def versions(framework: str) -> dict[str, str]:
    """Returns the versions that a result depends on, Python's included."""
    found = {"python": platform.python_version()}
    for package in FRAMEWORKS[framework].packages:
        try:
            found[package] = version(package)
        except (
            Exception
        ):  # a package under another name on another system (tensorflow-cpu) is simply not listed
            continue
    return found
