"""Train a shipped model: `python -m models.train MODEL_ID [--seed N] [--epochs N] [--bfloat16]`.

Seeded; broken off, it goes on from the last finished epoch (checkpoints lie in `build/training/`). The epoch
is chosen on the validation part; the test part is read once, at the end. Writes the weights, the catalog and
the card.
"""

from __future__ import annotations

import os

# Threads that spin while they wait starve each other on a busy machine: an epoch took four times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import dataclasses
import math
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from engine import datasets
from engine.device.preprocessing import preprocess
from models import cards
from models.catalog import FOLDER, ShippedModel, add_to_catalog, read_catalog, sha256_of
from models.pytorch import ARCHITECTURES, build
from models.recipes import RECIPES, Augmentation, Recipe, preprocessing_of

BUILD = FOLDER.parent / "build" / "training"


def augmented(images: torch.Tensor, how: Augmentation, random: torch.Generator) -> torch.Tensor:
    """Return randomly changed copies of float32 images [n, c, h, w]; whole-pixel shifts unless rotated or
    scaled.
    """
    n, _, height, width = images.shape

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(n, generator=random) * 2 - 1) * limit

    angle, size = uniform(math.radians(how.rotate_degrees)), 1 + uniform(how.scale)
    mirror = 1 - 2 * torch.randint(2, (n,), generator=random) if how.mirror else torch.ones(n)
    shift_x, shift_y = (torch.round(uniform(how.shift_px + 0.499)) * 2 / side for side in (width, height))
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    rows = [
        torch.stack([cosine * mirror, -sine, shift_x], 1),
        torch.stack([sine * mirror, cosine, shift_y], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def logits_of(network: torch.nn.Module, part: datasets.Part, preprocessing: dict) -> np.ndarray:
    """Return the network's logits, float32 [n, classes], on a whole part."""
    network.eval()
    with torch.inference_mode():
        batches = [
            network(torch.from_numpy(preprocess(part.images[i : i + 500], preprocessing)))
            for i in range(0, len(part.labels), 500)
        ]
    return torch.cat(batches).numpy()


def accuracy_of(network: torch.nn.Module, part: datasets.Part, preprocessing: dict) -> float:
    """Return the share of a part's images that the network classifies rightly."""
    return float((logits_of(network, part, preprocessing).argmax(1) == part.labels).mean())


def count_macs(network: torch.nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Return the multiply-adds of convolutions and dense layers for one image of (height, width,
    channels).
    """
    height, width, channels = input_shape
    total = 0

    def count(layer, _, output):
        nonlocal total
        total += layer.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    counted = [layer for layer in network.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in counted]
    network.eval()(torch.zeros(1, channels, height, width))
    for hook in hooks:
        hook.remove()
    return total


def _keep_float32(layer: torch.nn.Conv2d) -> None:
    """Keeps a layer out of autocast: depthwise convolutions gain nothing from 16 bits and lose to the
    conversions.
    """
    forward = layer.forward

    def in_float32(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    layer.forward = in_float32


class Run:
    """One training: network, optimizer, schedule and randomness, all of which a checkpoint restores."""

    def __init__(
        self,
        recipe: Recipe,
        parts: dict[str, datasets.Part],
        preprocessing: dict,
        classes: int,
        seed: int,
        bfloat16: bool = False,
    ):
        self.recipe, self.parts, self.preprocessing, self.bfloat16 = recipe, parts, preprocessing, bfloat16
        torch.manual_seed(seed)
        self.random = torch.Generator().manual_seed(seed)
        channels = parts["train"].images.shape[-1]
        self.network = build(recipe.architecture, channels, classes).to(memory_format=torch.channels_last)
        for layer in self.network.modules() if bfloat16 else ():
            if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1:
                _keep_float32(layer)
        decayed = [p for p in self.network.parameters() if p.dim() > 1]
        others = [p for p in self.network.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.SGD(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=recipe.peak_learning_rate,
            momentum=0.9,
            nesterov=True,
        )
        self.batches = len(parts["train"].labels) // recipe.batch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            recipe.peak_learning_rate,
            total_steps=recipe.epochs * self.batches,
            pct_start=0.25,
            div_factor=10,
            final_div_factor=500,
            cycle_momentum=False,
        )
        self.epoch, self.best_accuracy, self.best = 0, -1.0, {}

    def train_epoch(self) -> None:
        """Go once through the training part, then keep the weights if they are the best on the validation
        part.
        """
        train, recipe = self.parts["train"], self.recipe
        self.network.train()
        order = torch.randperm(len(train.labels), generator=self.random).numpy()
        for chosen in np.split(order[: self.batches * recipe.batch], self.batches):
            images = torch.from_numpy(preprocess(train.images[chosen], self.preprocessing))
            images = augmented(images, recipe.augmentation, self.random)
            if self.epoch < recipe.small_epochs:
                images = F.interpolate(
                    images, (recipe.small_px, recipe.small_px), mode="bilinear", antialias=True
                )
            images = images.contiguous(memory_format=torch.channels_last)
            self.optimizer.zero_grad(set_to_none=True)
            labels = torch.from_numpy(train.labels[chosen])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                logits = self.network(images).float()
            F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing).backward()
            self.optimizer.step()
            self.schedule.step()
        self.epoch += 1
        accuracy = accuracy_of(self.network, self.parts["validation"], self.preprocessing)
        if accuracy >= self.best_accuracy:
            state = self.network.state_dict().items()
            self.best_accuracy, self.best = accuracy, {name: value.clone() for name, value in state}

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        torch.save(
            {
                "recipe": repr(self.recipe),
                "network": self.network.state_dict(),
                "best": self.best,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": self.random.get_state(),
                "epoch": self.epoch,
                "best_accuracy": self.best_accuracy,
            },
            temporary,
        )
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same recipe, where there is one."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != repr(self.recipe):
            return
        for name in ("network", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.epoch, self.best, self.best_accuracy = state["epoch"], state["best"], state["best_accuracy"]


def train(model_id: str, seed: int = 0, epochs: int | None = None, bfloat16: bool = False) -> ShippedModel:
    """Train one model of `RECIPES` and ship it; returns its catalog entry.

    bfloat16 multiplies in 16 bits and keeps weights, sums and depthwise layers in 32. On a processor with AMX
    residual_cnn_256 trained 2.4 times faster with it, MobileNetV2 1.2 times; networks of 16 channels are
    slower. Raises KeyError for an unknown id and BadInput when its data set can't be had.
    """
    recipe = RECIPES[model_id]
    recipe = dataclasses.replace(recipe, epochs=epochs or recipe.epochs)
    dataset, _, _ = model_id.split("/")
    home = datasets_home()
    info, preprocessing = datasets.DATASETS[dataset], preprocessing_of(model_id)
    shape = (preprocessing["height"], preprocessing["width"], info.image_shape[2])
    datasets.prepare(dataset, home, image_shape=shape)
    parts = datasets.load(dataset, home, ("train", "validation"), image_shape=shape)
    run = Run(recipe, parts, preprocessing, len(info.classes), seed, bfloat16)
    checkpoint = BUILD / f"{model_id.replace('/', '_')}_seed{seed}.pt"
    run.resume(checkpoint)
    while run.epoch < recipe.epochs:
        started = time.monotonic()
        run.train_epoch()
        run.save(checkpoint)
        print(
            f"{model_id} epoch {run.epoch}/{recipe.epochs}: best validation accuracy {run.best_accuracy:.4f},"
            f" {time.monotonic() - started:.0f} s",
            flush=True,
        )
    run.network.load_state_dict(run.best)
    return ship(model_id, run, datasets.load(dataset, home, ("test",), image_shape=shape)["test"], seed)


def ship(model_id: str, run: Run, test: datasets.Part, seed: int) -> ShippedModel:
    """Write a trained network's weights, measure it on the test part, and enter it into the catalog."""
    dataset, framework, size = model_id.split("/")
    info = datasets.DATASETS[dataset]
    input_shape = test.images.shape[1:]
    weights = FOLDER / "weights" / f"{model_id.replace('/', '_')}.safetensors"
    weights.parent.mkdir(exist_ok=True)
    state = run.network.to(memory_format=torch.contiguous_format).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, weights)
    weights.chmod(0o644)
    model = ShippedModel(
        id=model_id,
        dataset=dataset,
        framework=framework,
        size=size,
        architecture=run.recipe.architecture,
        weights=f"weights/{weights.name}",
        sha256=sha256_of(weights),
        preprocessing=run.preprocessing,
        classes=info.classes,
        input_shape=input_shape,
        size_bytes=weights.stat().st_size,
        test_accuracy=accuracy_of(run.network, test, run.preprocessing),
        test_images=len(test.labels),
        validation_accuracy=run.best_accuracy,
        parameters=sum(p.numel() for p in run.network.parameters()),
        macs=count_macs(run.network, input_shape),
        epochs=run.recipe.epochs,
        seed=seed,
        command=f"python -m models.train {model_id} --epochs {run.recipe.epochs} --seed {seed}"
        + " --bfloat16" * run.bfloat16,
    )
    add_to_catalog(model)
    cards.write_cards()
    return model


def ship_keras_twin(model_id: str) -> None:
    """Make the Keras twin of a shipped PyTorch model, in a process of its own: one process, one framework."""
    original = read_catalog()[model_id.replace("/keras/", "/pytorch/")]
    home = datasets_home()
    datasets.prepare(original.dataset, home)
    network = build(original.architecture, original.input_shape[2], len(original.classes))
    network.load_state_dict(load_file(original.weights_path))
    parts = datasets.load(original.dataset, home, ("validation", "test"))
    reference = BUILD / f"{model_id.replace('/', '_')}_reference.npz"
    reference.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        reference, **{name: logits_of(network, part, original.preprocessing) for name, part in parts.items()}
    )
    subprocess.run([sys.executable, "-m", "models.twin", model_id, str(reference), str(home)], check=True)


def datasets_home() -> Path:
    """Return the workspace that holds the prepared data sets."""
    return Path(os.environ.get("EDGEWISE_HOME", Path.home() / ".edgewise"))


TWINS = {
    key.replace("/pytorch/", "/keras/")
    for key, recipe in RECIPES.items()
    if recipe.architecture in ARCHITECTURES
}


@click.command()
@click.argument("model_id", type=click.Choice(sorted({*RECIPES, *TWINS})), metavar="MODEL_ID")
@click.option("--seed", default=0, show_default=True)
@click.option("--epochs", type=int, help="Default: the recipe's.")
@click.option("--bfloat16", is_flag=True, help="Multiply in 16 bits: faster on processors with AMX.")
def main(model_id: str, seed: int, epochs: int | None, bfloat16: bool) -> None:
    """Train a shipped model, or make the Keras twin of one."""
    if model_id in TWINS:
        return ship_keras_twin(model_id)
    model = train(model_id, seed, epochs, bfloat16)
    click.echo(
        f"{model.id}: {model.test_accuracy:.2%} on the test part, {model.size_bytes / 1e6:.2f} MB,"
        f" {model.macs:,} MACs"
    )


if __name__ == "__main__":
    main()
