"""torchvision's classifiers with random weights as people bring them: a whole module, and ONNX as PyTorch's
exporter of today and the one before it write it.

Each file is opened as an upload is, its scores are compared with the network's own, and one technique of each
sort is tried on it without training: INT8, INT4 and channels removed; each file made is run. A cell holds the
size ratio to the float file, or why there is none. Finished networks are kept in build/.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.engine_run import BUILD

SIZE, CLASSES = 64, 10
# AlexNet and VGG pool to 6x6 and 7x7: a smaller picture would be enlarged, which neither exporter writes
# as a pooling
SIZES = {"alexnet": 224, "inception_v3": 96, "vgg11": 224, "vgg11_bn": 224, "vit_small": 32}
NETWORKS = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet"),
    *("inception_v3", "maxvit_small", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf"),
    *("regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *("swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_small", "wide_resnet50_2"),
)
FORMS = {
    "module": "whole module",
    "today": "ONNX, exporter of today",
    "before": "ONNX, the exporter before",
}
CUT, ALIKE = 0.3, 1e-3
SECONDS = 900


def network(name: str) -> Any:
    """Returns one network in small, its weights random; those with "small" in their names are torchvision's
    classes with fewer and narrower layers.
    """
    import torch

    from models.torchvision_shim import import_torchvision

    models = import_torchvision().models
    torch.manual_seed(0)
    if name == "vit_small":
        made = models.VisionTransformer(32, 8, 2, 4, 64, 128, num_classes=CLASSES).eval()
        torch.nn.init.normal_(
            made.heads.head.weight
        )  # it starts from zeros, and so its scores would be equal
        return made
    if name == "maxvit_small":
        sizes: dict[str, Any] = {"block_channels": [32, 64], "block_layers": [1, 1], "head_dim": 16}
        return models.MaxVit(
            (SIZE, SIZE), 32, 4, num_classes=CLASSES, stochastic_depth_prob=0, **sizes
        ).eval()
    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, num_classes=CLASSES, **more).eval()


def written(name: str, form: str, folder: Path) -> tuple[Path, Any]:
    """Writes a network in one of its forms; returns the file and the network."""
    import torch

    made, side = network(name), SIZES.get(name, SIZE)
    file = folder / f"{name}.{'pt' if form == 'module' else 'onnx'}"
    if form == "module":
        torch.save(made, file)
    else:
        how = {"external_data": False} if form == "today" else {"dynamo": False}
        torch.onnx.export(made, (torch.rand(1, 3, side, side),), str(file), verbose=False, **how)
    return file, made


def tried(name: str, form: str, folder: Path) -> dict[str, str]:
    """Opens one file and tries each sort of technique; returns what came out by what was tried."""
    import torch

    from engine.backends import QuantSpec, nearest_grid, open_backend
    from engine.device.preprocessing import preprocess
    from engine.formats.behind_wall import look
    from engine.vocabulary import ModelFile

    file, own = written(name, form, folder)
    side = SIZES.get(name, SIZE)
    asked = {"path": str(file), "name": file.name, "dataset": None, "architecture": None, "home": None}
    began = time.monotonic()
    model = ModelFile.model_validate(look(asked | {"input_size": [side, side]}, None))
    found = {"opened": f"{time.monotonic() - began:.1f} s", "reach": model.reach}
    backend = open_backend(model, folder / "cache", 2)
    opened = backend.load(model)
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)
    with torch.inference_mode():
        wanted = own(torch.from_numpy(preprocess(images, model.preprocessing.model_dump()))).numpy()
    given = backend.logits(opened, images)
    far = float(np.abs(given - wanted).max() / np.abs(wanted).max())
    found["scores"] = "the network's own" if far < ALIKE else f"off by {far:.2g}"
    facts = backend.facts(opened)
    if facts.untraceable:
        found["cut"] = facts.untraceable
    base = backend.export(opened, None, None, folder / "float").stat().st_size

    def cut() -> Any:
        inner = [
            layer.name for layer in facts.layers if not layer.is_output and layer.name not in facts.locked
        ]
        return backend.remove_channels(opened, dict.fromkeys(inner, CUT), "l2", None, 0)

    def ratio(made: Any, spec: QuantSpec | None) -> str:
        path = backend.export(made, spec, images, folder / "made")
        assert np.isfinite(backend.predict(path, images)).all(), "its scores are no numbers"
        return f"{base / path.stat().st_size:.2f}x"

    grids = {
        layer: nearest_grid(weight, 4) for layer, weight in backend.weights(backend.folded(opened)).items()
    }
    grids = {layer.name: grids[layer.name] for layer in facts.layers}
    ways: dict[str, Callable[[], str]] = {
        "int8": lambda: ratio(opened, QuantSpec("static_int8")),
        "int4": lambda: ratio(opened, QuantSpec("weights", grids=grids)),
        "cut": lambda: facts.unprunable or ratio(cut(), None),
    }
    for way, make in ways.items():
        try:
            found[way] = make()
        except Exception as error:  # the table says what went wrong
            found[way] = f"{type(error).__name__}: {str(error)[:150]}"
    return found


def cell(found: dict[str, str]) -> str:
    """Returns one table cell."""
    if "error" in found:
        return found["error"]
    said = [] if found["reach"] == "all" else [found["reach"].replace("_", "-")]
    said += [] if found["scores"] == "the network's own" else [found["scores"]]
    return ", ".join([*said, *(f"{way} {found[way]}" for way in ("int8", "int4", "cut"))])


def _kept(name: str, form: str) -> dict[str, str]:
    """Returns what one file gave, tried in a process of its own."""
    kept = BUILD / f"exporters-{name}-{form}.json"
    if not kept.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.exporters",
            "--child",
            name,
            form,
            str(kept),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return {"error": f"it was not done after {SECONDS} s"}
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or ["it died"])[-1][:200]}
    return json.loads(kept.read_text())


def _child(name: str, form: str, kept: str) -> None:
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(dir=BUILD))
    try:
        Path(kept).write_text(json.dumps(tried(name, form, folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def works(found: dict[str, str]) -> bool:
    """Tells whether a file opened with its own scores and all sorts of techniques gave a file."""
    made = all(found.get(way, "").endswith("x") for way in ("int8", "int4", "cut"))
    return made and found.get("scores") == "the network's own"


def main() -> None:
    """Tries every network in every form and writes results/exporters.*."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return
    rows, failed = [], []
    names = arguments.networks.split(",")
    for name in names:
        found = {form: _kept(name, form) for form in FORMS}
        rows.append([name, *(cell(each) for each in found.values())])
        failed += [f"{name} {form}" for form, each in found.items() if not works(each)]
        print(rows[-1], flush=True)
    left_out = [name for name in NETWORKS if name not in names]
    figure = ", ".join(failed) or f"{len(rows) * len(FORMS)} files, no failure"
    figure += f"; not run: {', '.join(left_out)}" if left_out else ""
    target = (
        "every classifier opens in every form with its own scores, and each sort of technique gives a file"
    )
    record.write(
        "exporters",
        "Ways to bring a PyTorch network, by network (random weights, small pictures)",
        ["network", *FORMS.values()],
        rows,
        [{"target": target, "figure": figure, "met": not failed and not left_out}],
        not_run=left_out,
    )


if __name__ == "__main__":
    main()
