"""What a variant is made with, inside its child process: the network, the data (never the test part), and
what the run's other techniques left.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends.backend import Backend
from engine.backends.protocol import Network, QuantSpec
from engine.backends.training import Teacher
from engine.judge import measure
from engine.techniques.job import Data, Job
from engine.techniques.shared.saturation import range_of_weights
from engine.vocabulary import LayerSensitivity

# beyond a share of the time budget in which work may go on piece by piece; the wall allows more, for the last
LEEWAY_S = 90.0
VALIDATION_IMAGES = 2_000
CALIBRATION_IMAGES = 300


class Bench:
    """One technique's job, the backend and the data; `send` tells the run."""

    def __init__(self, job: Job, backend: Backend, data: Data, send: Callable[[dict[str, Any]], None]):
        self.job, self.backend, self.data, self.send = job, backend, data, send
        self.model, self.facts, self.folder = job.model, job.facts, job.folder
        self.began = time.monotonic()
        self._network: Network | None = None
        self._answers: np.ndarray | None = None

    def has_time(self) -> bool:
        """Tells a search whether it may try one more network, or the sensitivity whether there is time for
        one more layer: while the share of the time budget lasts, and a little longer, because other work than
        training comes on top.
        """
        return time.monotonic() - self.began < self.job.seconds + LEEWAY_S

    def network(self) -> Network:
        """Returns the baseline network; primitives never change it, so it is opened once."""
        if self._network is None:
            self._network = self.backend.load(self.model)
        return self._network

    def sensitivity(self, change: str) -> dict[str, LayerSensitivity]:
        """Returns the run's sensitivity for one kind of change (`int8`, `int4`, `prune`), by layer."""
        return {row.layer: row for row in self.job.sensitivity if row.change == change}

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
        if self.job.technique == "baseline" or self.data.validation is None:
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
        return range_of_weights(self.backend.format.saturates, self.job.dot_product)[0]

    @property
    def range_reason(self) -> str:
        """Why 8-bit weights keep to 7 bits, or need not."""
        return range_of_weights(self.backend.format.saturates, self.job.dot_product)[1]

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
            self.data.labelled()[0].images,
            self.teacher_answers(),
        )

    def answer_ahead(self) -> None:
        """Keeps the baseline's logits for all training images, which the run's techniques read, where there
        are seconds for that at the speed that was measured.
        """
        if self.data.train is None or not self.job.seconds:
            return
        images = self.data.train.images
        if len(images) <= self.job.seconds * self.facts.evaluate_images_per_s:
            np.save(self._answers_path, self.backend.logits(self.network(), images).astype(np.float32))

    def teacher_answers(self) -> np.ndarray:
        """Returns the baseline's logits for the training images, float32 [n, classes], NaN where they were
        not computed ahead or since.

        What is added stays with this technique: so none depends on which ones were at work before it.
        """
        if self._answers is None and self._answers_path.exists():
            self._answers = np.load(self._answers_path, mmap_mode="c")
        elif self._answers is None:
            shape = (len(self.data.labelled()[0].labels), len(self.model.classes))
            self._answers = np.full(shape, np.nan, np.float32)
        return self._answers

    @property
    def _answers_path(self) -> Path:
        return self.folder / "cache" / "teacher.npy"

    def keep(self, name: str, network: Network) -> None:
        """Keeps a network for the run's later techniques."""
        self.backend.save(network, self.folder / "cache", name)

    def kept(self, name: str) -> Network | None:
        """Returns a network that an earlier technique of this run kept, or None."""
        if not (self.folder / "cache" / f"{name}.json").exists():
            return None
        return self.backend.restore(self.model, self.folder / "cache", name)
