"""What the engine benchmarks share: train a network once, upload it like a user would, run the engine, read
the run.
"""

import os
import socket
import tempfile
import time
from pathlib import Path

import numpy as np

from engine import datasets
from engine.formats.inspect import inspect_model
from engine.run import jobs
from engine.store.workspace import Workspace
from engine.vocabulary import Constraints, Experiment, ModelFile, Pace, Preprocessing, Run

RESNET20 = "pt_state_dict/akamaster__pytorch_resnet_cifar10__resnet20-12fca82f.th"
BUILD = Path(__file__).resolve().parent.parent / "build" / "benchmarks"
MNIST = {"height": 28, "width": 28, "color": "grey", "layout": "NCHW", "mean": [0.1307], "std": [0.3081]}


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def trained(
    name: str, make, dataset: str, epochs: int, home: Path, preprocessing: dict, wanted: float
) -> tuple[Path, float]:
    """Trains `make()` on a preset's training part with Adam and a one-cycle schedule; kept in build/ for the
    next time.

    Returns the file (the whole module, as torch.save writes it) and the accuracy on the validation part.
    Raises SystemExit when it falls short of `wanted`.
    """
    import torch

    BUILD.mkdir(parents=True, exist_ok=True)
    file = BUILD / f"{name}.pt"
    datasets.prepare(dataset, home)
    parts = datasets.load(dataset, home, ("train", "validation", "calibration"))
    if not file.exists():
        torch.save(_train(make(), parts, epochs, preprocessing), file)
    network = torch.load(file, weights_only=False)  # our own file, written a line above
    reached = _accuracy(network, parts["validation"], preprocessing)
    if reached < wanted:
        raise SystemExit(
            f"{name} reached {reached:.4f} on the validation part, {wanted} is needed: delete {file.name} and"
            " train longer."
        )
    return file, reached


def _train(network, parts, epochs: int, preprocessing: dict):
    import torch

    from engine.device.preprocessing import preprocess

    torch.manual_seed(0)
    random, spec = np.random.default_rng(0), Preprocessing(**preprocessing).model_dump()
    part, batch = parts["train"], 128
    steps = epochs * (len(part.labels) // batch)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    network.train()
    for epoch in range(epochs):
        order, began = random.permutation(len(part.labels)), time.time()
        for start in range(0, len(order) - batch + 1, batch):
            chosen = np.sort(order[start : start + batch])
            x, y = (
                torch.from_numpy(preprocess(part.images[chosen], spec)),
                torch.from_numpy(part.labels[chosen]),
            )
            loss = torch.nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(
            f"epoch {epoch + 1} of {epochs}: {time.time() - began:.0f} s, loss {loss.item():.4f}", flush=True
        )
    return network.eval()


def _accuracy(network, part, preprocessing: dict) -> float:
    import torch

    from engine.device.preprocessing import preprocess

    spec = Preprocessing(**preprocessing).model_dump()
    with torch.inference_mode():
        right = sum(
            int(
                (
                    network(torch.from_numpy(preprocess(part.images[i : i + 500], spec))).argmax(1).numpy()
                    == part.labels[i : i + 500]
                ).sum()
            )
            for i in range(0, len(part.labels), 500)
        )
    return right / len(part.labels)


def random_network(name: str) -> Path:
    """Returns the file of a torchvision network of ten classes with seeded random weights, a whole module."""
    import torch

    from models.torchvision_shim import import_torchvision

    BUILD.mkdir(parents=True, exist_ok=True)
    file = BUILD / f"{name}.pt"
    if not file.exists():
        torch.manual_seed(0)
        torch.save(import_torchvision().models.get_model(name, weights=None, num_classes=10).eval(), file)
    return file


def resnet20(home: Path) -> ModelFile:
    """Opens the ResNet-20 of EDGEWISE_UPLOADS as its page does, with CIFAR-10's pictures; raises
    FileNotFoundError where it isn't at hand.
    """
    if "EDGEWISE_UPLOADS" not in os.environ:
        raise FileNotFoundError("EDGEWISE_UPLOADS is not set")
    datasets.prepare("cifar10", home)
    return inspect_model(Path(os.environ["EDGEWISE_UPLOADS"]) / RESNET20, dataset="cifar10", home=home)


def uploaded(file: Path, preprocessing: dict, classes: int = 10, **options) -> ModelFile:
    """Opens a file as the upload page does and sets the preprocessing that it was trained with."""
    model = inspect_model(file, **options)
    return model.model_copy(
        update={"preprocessing": Preprocessing(**preprocessing), "classes": [str(i) for i in range(classes)]}
    )


def run(
    model: ModelFile,
    dataset: str,
    device: str,
    techniques: list[str],
    seconds: int,
    seed: int = 0,
    drop_pp: float | None = None,
    home: Path | None = None,
    runtime: str | None = None,
    pace: Pace | None = None,
) -> Run:
    """Runs the engine to its end and returns the run; prints each stage as it comes. runtime: what the files
    are for, where it is not the framework's usual one. pace: that of the run that this one repeats.
    """
    workspace = Workspace(home or tempfile.mkdtemp(prefix="edgewise-benchmark-"))
    experiment = Experiment(
        model=model,
        dataset=dataset,
        device=device,
        techniques=techniques,
        seed=seed,
        time_budget_s=seconds,
        runtime=runtime,
        pace=pace,
        constraints=Constraints(max_accuracy_drop_pp=drop_pp),
    )
    run_id = jobs.start(experiment, workspace)
    jobs.wait(
        run_id,
        workspace,
        lambda e: (
            print(f"  {e.technique} {getattr(e, 'status', '') or getattr(e, 'text', '')}", flush=True)
            if e.kind in ("technique", "log")
            else None
        ),
    )
    finished = workspace.run(run_id)
    if finished.state != "done":
        raise SystemExit(f"The run {finished.state}: {finished.reason}")
    return finished


def row(variant, baseline) -> list:
    """Returns a table row: id, accuracy %, drop pp, p-value, bytes, times smaller, compressed, MACs ratio, ms
    p50, times faster.
    """
    if variant.status != "done" or variant.host is None:
        return [variant.id, f"{variant.status}: {variant.reason}"] + [None] * 9
    return [
        variant.id,
        round(100 * variant.accuracy, 2),
        round(variant.accuracy_drop_pp, 3),
        round(variant.p_value, 4),
        variant.size_bytes,
        round(baseline.size_bytes / variant.size_bytes, 2),
        variant.compressed_bytes,
        round(baseline.macs / variant.macs, 2),
        round(variant.host.latency_ms.p50, 4),
        round(baseline.host.latency_ms.p50 / variant.host.latency_ms.p50, 2),
        variant.seconds,
    ]


COLUMNS = [
    "variant",
    "accuracy %",
    "drop pp",
    "p",
    "bytes",
    "times smaller",
    "compressed bytes",
    "times fewer MACs",
    "p50 ms",
    "times faster",
    "made in s",
]
