"""INT8 without training, by us and by the tools that people would take instead, on the same networks.

Every tool works in an environment of its own, which this script makes in build/, as its own documentation
shows it: the same float file, the same calibration images. Accuracy is measured on the same test images with
a paired test, and all files are timed in turn in one process and one runtime. Networks at 224 have random
weights: their speed and size count, their accuracy means nothing. Needs EDGEWISE_DATA (cifar10.npz) and, for
ResNet-20, EDGEWISE_UPLOADS; tools and networks that can't be had here are said.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import record
from benchmarks.engine_run import BUILD, RESNET20, random_network, resnet20, run, uploaded
from engine import datasets
from engine.device.model import open_model
from engine.device.preprocessing import preprocess
from engine.formats.inspect import inspect_model
from engine.judge import measure
from engine.store.workspace import Workspace
from models.catalog import read_catalog

HOME = BUILD / "home-peers"
TOOLS = Path(__file__).resolve().parent / "peer_tools"
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "color": "rgb", "layout": "NCHW"}
# network: the model, and the runtime that its files are for
CASES = {
    "ResNet-20, 32x32": (RESNET20, "onnxruntime"),
    "CIFAR medium, 32x32": ("cifar10/pytorch/medium", "onnxruntime"),
    "MobileNetV2, 64x64": ("cifar10/pytorch/mobilenet_v2", "onnxruntime"),
    "CIFAR medium of Keras, 32x32": ("cifar10/keras/medium", "litert"),
    "MobileNetV3-Small, 224x224, random": ("mobilenet_v3_small", "onnxruntime"),
    "ResNet-18, 224x224, random": ("resnet18", "onnxruntime"),
    "MobileNetV2, 224x224, random": ("mobilenet_v2", "onnxruntime"),
}
PEERS = {
    "onnxruntime": ("nncf_int8", "onnxruntime_static", "quark_int8", "mct_int8"),
    "litert": ("tensorflow_int8", "ai_edge_quantizer_int8"),
}
IMAGES, LARGE_IMAGES = 300, 100  # of calibration; fewer at 224
ROUNDS, TIMED_S = 400, 20.0
OURS, FLOAT = "ours", "float"
COLUMNS = [
    "network",
    "made by",
    "accuracy %",
    "drop pp",
    "p against ours",
    "bytes",
    "p50 ms",
    "spread %",
    "times as fast as float",
    "made in s",
]


def environment(tool: Path) -> Path:
    """Returns the interpreter of a tool's own environment, made the first time."""
    words = " ".join(re.findall(r"^# requires: (.*)", tool.read_text(), re.MULTILINE))
    folder = BUILD / "peers" / tool.stem
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists() or done.read_text() != words:
        print(f"  installing {words}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *words.split()], check=True)
        done.write_text(words)
    return python


def made_by(name: str, sources: dict[str, Path], calibration: Path, target: Path) -> dict[str, Any]:
    """Lets a tool make its file; returns its seconds and version, or {"why_not"}."""
    tool = TOOLS / f"{name}.py"
    takes = re.search(r"# takes: (\w+)", tool.read_text())
    assert takes is not None
    words = [environment(tool), tool, sources[takes[1]].resolve(), calibration, target]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # one of them leaves a table where it works
    done = subprocess.run(words, capture_output=True, text=True, env=clean, cwd=target.parent)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        return {"why_not": said[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def opened(name: str) -> Any:
    """Returns the model of a case as the upload page opens it; raises FileNotFoundError for want of it."""
    if name == RESNET20:
        return resnet20(HOME)
    if "/" in name:
        return inspect_model(name)
    return uploaded(random_network(name), {"height": 224, "width": 224, **IMAGENET}).model_copy(
        update={"input_shape": (224, 224, 3)}
    )


def few_pictures() -> Path:
    """Returns a ZIP of 600 CIFAR-10 pictures in class folders: all of them at 224 are gigabytes."""
    path = BUILD / "few.zip"
    if not path.exists():
        datasets.prepare("cifar10", HOME)
        part = datasets.load("cifar10", HOME, ("train",), limit=600)["train"]
        with zipfile.ZipFile(path, "w") as archive:
            for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
                with archive.open(f"{label}/{number}.png", "w") as file:
                    Image.fromarray(image).save(file, "PNG")
    return path


def rows_of(case: str, seconds: int) -> list[list]:
    """Makes, measures and times one network by all tools; returns its table rows, float first."""
    name, runtime = CASES[case]
    model = opened(name)
    data = "cifar10" if "/" in name else str(few_pictures())
    done = run(model, data, "raspberry_pi_4", ["ptq_int8"], seconds, home=HOME, runtime=runtime)
    folder = Workspace(HOME).folder(done.id)
    variants = {v.id: v for v in done.variants}
    files = {FLOAT: folder / variants["baseline"].artifacts[0].path}
    ours = variants["ptq_int8"]
    took: dict[str, Any] = {OURS: {"seconds": ours.seconds, "why_not": f"{ours.status}: {ours.reason}"}}
    if ours.status == "done":
        files[OURS] = folder / ours.artifacts[0].path
    spec = model.preprocessing.model_dump()
    parts = datasets.load(data, HOME, ("calibration", "test"), image_shape=model.input_shape)
    images = LARGE_IMAGES if model.input_shape[0] > 64 else IMAGES
    with tempfile.TemporaryDirectory(prefix="edgewise-peers-") as made:
        calibration = Path(made, "calibration.npy")
        np.save(calibration, preprocess(parts["calibration"].images[:images], spec).astype(np.float32))
        sources = {"onnx": files[FLOAT], "tflite": files[FLOAT]}
        if runtime == "litert":
            sources["keras"] = read_catalog()[name].weights_path
        for peer in PEERS[runtime]:
            target = Path(made, peer + files[FLOAT].suffix)
            took[peer] = made_by(peer, sources, calibration, target)
            if "why_not" not in took[peer]:
                files[peer] = target
        return _measured(case, files, took, parts["test"], spec)


def _measured(case: str, files: dict[str, Path], took: dict, test: Any, spec: dict) -> list[list]:
    labels = test.labels if "random" not in case else test.labels[:100]
    inputs = [preprocess(test.images[i : i + 100], spec) for i in range(0, len(labels), 100)]
    models, right = {}, {}
    for name, file in files.items():
        models[name] = open_model(file, threads=1)
        scores = np.concatenate([models[name].predict(batch) for batch in inputs])
        right[name] = scores.argmax(1) == labels
    one = inputs[0][:1]
    calls = {name: (lambda m=model: m.run_once(one)) for name, model in models.items()}
    times = {
        name: np.array(found) for name, found in measure.time_interleaved(calls, TIMED_S, ROUNDS).items()
    }
    rows = []
    for name in [FLOAT, OURS, *(n for n in took if n != OURS)]:
        if name not in files:
            rows.append([case, name, took[name]["why_not"]] + [None] * 7)
            continue
        low, p50, high = np.percentile(times[name], [25, 50, 75])
        known = "random" not in case
        rows.append(
            [
                case,
                took.get(name, {}).get("version", name),
                round(100 * right[name].mean(), 2) if known else None,
                round(100 * (right[FLOAT].mean() - right[name].mean()), 2) if known else None,
                round(measure.mcnemar_p(right[OURS], right[name]), 3)
                if known and OURS in right and name != OURS
                else None,
                files[name].stat().st_size,
                round(p50, 4),
                round(100 * (high - low) / p50, 1),
                round(float(np.median(times[FLOAT])) / p50, 2),
                round(took[name]["seconds"], 1) if name in took else None,
            ]
        )
    return rows


def targets(rows: list[list]) -> list[dict]:
    """Returns what was aimed at against each tool, over all networks, with what missed it."""
    found = []
    for what, worse in (
        ("less accurate, beyond noise", _less_accurate),
        ("slower to run", _slower),
        ("longer to make", _longer),
    ):
        missed, pairs = [], 0
        for case in dict.fromkeys(row[0] for row in rows):
            mine = next(row for row in rows if row[0] == case and row[1] == OURS)
            for theirs in rows:
                if theirs[0] == case and theirs[1] not in (OURS, FLOAT) and theirs[5] is not None:
                    pairs += 1
                    if mine[5] is None:
                        missed.append(f"{case}: ours {mine[2]}")
                        continue
                    missed += [f"{case}: {said}"] if (said := worse(mine, theirs)) else []
        figure = f"{pairs - len(missed)} of {pairs}" + ("; not " + "; ".join(missed) if missed else "")
        found.append({"target": f"never {what} than a peer", "figure": figure, "met": not missed})
    return found


def _less_accurate(mine: list, theirs: list) -> str:
    if mine[2] is None or mine[2] >= theirs[2] or theirs[4] >= 0.05:
        return ""
    return f"{mine[2]} %, {theirs[1]} {theirs[2]} %"


def _slower(mine: list, theirs: list) -> str:
    noise = 1 + max(mine[7], theirs[7]) / 100
    return f"{mine[6]} ms, {theirs[1]} {theirs[6]} ms" if mine[6] > theirs[6] * noise else ""


def _longer(mine: list, theirs: list) -> str:
    return f"{mine[9]} s, {theirs[1]} {theirs[9]} s" if mine[9] > theirs[9] else ""


def main() -> None:
    """Runs the cases and writes results/peers.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time budget of each of our runs")
    parser.add_argument("--cases", default=";".join(CASES), help="names of cases, apart by semicolons")
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    rows, absent = [], {}
    for case in asked.cases.split(";"):
        print(case, flush=True)
        try:
            rows += rows_of(case, asked.seconds)
        except FileNotFoundError as error:
            absent[case] = str(error)
    title = "INT8 without training, beside the tools that people would take instead"
    more = {"seed": 0, "load_before": round(before, 2), "not_run": absent}
    print(record.write("peers", title, COLUMNS, rows, targets(rows), **more).read_text())


if __name__ == "__main__":
    main()
