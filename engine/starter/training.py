"""Fit a shipped architecture to someone's own images: begun from shipped weights, chosen on the validation
part.

Runs in a child process. It is given the training and validation parts only, so nothing here can look at the
test part.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from engine.device.preprocessing import preprocess
from models.catalog import ShippedModel
from models.pytorch import build
from models.recipes import Augmentation
from models.train import augmented

BATCH = 32
PEAK_LEARNING_RATE = 0.04
MOST_EPOCHS = 60
FEWEST_STEPS = 40
MOST_TRIALS = 40
MOST_VALIDATION = 1_000
OVERTIME = 1.4  # another program may take the processor after the speed was measured
BALANCED_FROM = 1.5  # the largest class over the smallest; beyond it each class counts alike


@dataclass(frozen=True)
class Progress:
    """How far the training is: fraction 0..1, seconds left, validation accuracy of the best weights so
    far.
    """

    fraction: float
    remaining_s: float
    accuracy: float | None


class Starter:
    """One training. Images are uint8 [n, h, w, c], labels int64 [n]; `preprocessing` as for every model
    here.
    """

    def __init__(
        self,
        origin: ShippedModel,
        classes: int,
        preprocessing: dict,
        train,
        validation,
        mirror: bool,
        seed: int,
    ):
        torch.manual_seed(seed)
        self.random = torch.Generator().manual_seed(seed)
        self.preprocessing, self.train_part, self.classes = preprocessing, train, classes
        self.validation_images = np.asarray(validation.images[:MOST_VALIDATION])
        self.validation_labels = np.array(validation.labels[:MOST_VALIDATION])
        self.batch = min(BATCH, len(train.labels))
        height, width, channels = train.images.shape[1:]
        self.how = Augmentation(
            shift_px=max(1, min(height, width) // 16), mirror=mirror, rotate_degrees=8, scale=0.08
        )
        self.network = begun(origin, channels, classes).to(memory_format=torch.channels_last)
        self.weights = class_weights(np.asarray(train.labels), classes)
        self.order = np.empty(0, np.int64)
        self.best, self.best_key, self.best_accuracy = {}, (-1.0, 0.0), None
        self.steps = 0

    def fit(self, seconds: float, tell: Callable[[Progress], None]) -> None:
        """Trains for about `seconds` and leaves the network with the weights that did best on the validation
        part.
        """
        began = time.monotonic()
        total, every = self._plan(seconds)
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            PEAK_LEARNING_RATE,
            total_steps=total,
            pct_start=0.2,
            div_factor=10,
            final_div_factor=500,
            cycle_momentum=False,
        )
        since, patience = 0, max(8, total // every // 2)
        while self.steps < total and since < patience and time.monotonic() - began < OVERTIME * seconds:
            self._step(self.network, optimizer)
            schedule.step()
            self.steps += 1
            if self.steps % every == 0 or self.steps == total:
                since = 0 if self._keep_if_better() else since + 1
                done = self.steps / total
                tell(Progress(done, (time.monotonic() - began) * (1 - done) / done, self.best_accuracy))
        if not self.best:
            self._keep_if_better()
        self.network.load_state_dict(self.best)
        self.network.to(memory_format=torch.contiguous_format).eval()

    @property
    def epochs(self) -> float:
        """How often the training part was gone through."""
        return self.steps * self.batch / len(self.train_part.labels)

    def logits(self) -> np.ndarray:
        """Returns the logits of the validation images, float32 [n, classes]."""
        self.network.eval()
        with torch.inference_mode():
            batches = [
                self.network(
                    torch.from_numpy(preprocess(self.validation_images[i : i + 100], self.preprocessing))
                )
                for i in range(0, len(self.validation_images), 100)
            ]
        return torch.cat(batches).numpy()

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors, with the size of the images that they were trained on."""
        spec = self.preprocessing
        save_file(
            {name: value.contiguous() for name, value in self.network.state_dict().items()},
            path,
            metadata={"input_size": f"{spec['height']}x{spec['width']}"},
        )

    def _plan(self, seconds: float) -> tuple[int, int]:
        """Times a few steps of a copy; returns the steps that fit and after how many the validation part is
        tried.
        """
        probe, state = copy.deepcopy(self.network), self.random.get_state()
        optimizer = torch.optim.SGD(probe.parameters(), lr=0.0)
        self._step(probe, optimizer)
        began = time.monotonic()
        for _ in range(3):
            self._step(probe, optimizer)
        step_s = (time.monotonic() - began) / 3
        began = time.monotonic()
        self.logits()
        trial_s = time.monotonic() - began
        # measuring must not change what is trained
        self.random.set_state(state)
        self.order = np.empty(0, np.int64)
        epoch = max(1, len(self.train_part.labels) // self.batch)
        total = int(
            np.clip(
                (seconds - MOST_TRIALS * trial_s) / step_s,
                FEWEST_STEPS,
                max(FEWEST_STEPS, MOST_EPOCHS * epoch),
            )
        )
        return total, max(1, total // MOST_TRIALS)

    def _step(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        network.train()
        chosen = np.sort(self._next_batch())
        images = torch.from_numpy(preprocess(np.asarray(self.train_part.images[chosen]), self.preprocessing))
        images = augmented(images, self.how, self.random).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(np.asarray(self.train_part.labels)[chosen])
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(images), labels, weight=self.weights, label_smoothing=0.05).backward()
        optimizer.step()

    def _next_batch(self) -> np.ndarray:
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(self.train_part.labels), generator=self.random).numpy()
        chosen, self.order = self.order[: self.batch], self.order[self.batch :]
        return chosen

    def _keep_if_better(self) -> bool:
        logits = torch.from_numpy(self.logits())
        accuracy = float((logits.argmax(1).numpy() == self.validation_labels).mean())
        # with few validation images many weights are equally right: the surer ones are taken
        key = (accuracy, -float(F.cross_entropy(logits, torch.from_numpy(self.validation_labels))))
        if key <= self.best_key:
            return False
        self.best_key, self.best_accuracy = key, accuracy
        self.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        return True


def begun(origin: ShippedModel, channels: int, classes: int) -> torch.nn.Module:
    """Returns the origin's architecture with its weights, a fresh last layer, and a first one for images of
    0..1.
    """
    network = build(origin.architecture, channels, classes)
    weights = {
        name: value
        for name, value in load_file(origin.weights_path).items()
        if not name.startswith("classifier.")
    }
    first = next(name for name, value in network.state_dict().items() if value.dim() == 4)
    kernel = weights[first] / torch.tensor(origin.preprocessing["std"]).reshape(1, -1, 1, 1)
    if channels != kernel.shape[1]:
        kernel = kernel.sum(1, keepdim=True).repeat(1, channels, 1, 1) / channels
    network.load_state_dict(weights | {first: kernel}, strict=False)
    return network


def class_weights(labels: np.ndarray, classes: int) -> torch.Tensor | None:
    """Returns what each class counts in the loss, or None where the classes are about equally many."""
    counts = np.bincount(labels, minlength=classes).clip(1)
    if counts.max() < BALANCED_FROM * counts.min():
        return None
    return torch.from_numpy((len(labels) / (classes * counts)).clip(0.1, 10).astype(np.float32))
