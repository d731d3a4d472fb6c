"""One network in every runtime that takes it: do they answer alike, how fast, with how much memory?

ONNX Runtime, OpenCV and LiteRT run the files that a run makes; ncnn runs what pnnx converts, where both are
installed (`pip install ncnn==1.0.20261020 pnnx==20261020`; nothing else here needs them). Times are taken in
turn in one process, one thread each; memory is the peak of a process of its own, above one that has only
imported. Needs EDGEWISE_DATA (cifar10.npz).
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.engine_run import BUILD, run
from engine import datasets
from engine.device.model import open_model
from engine.device.model_opencv import OpenCV
from engine.device.preprocessing import preprocess
from engine.formats import open_network
from engine.formats.inspect import inspect_model
from engine.judge import measure
from engine.store.workspace import Workspace

HOME = BUILD / "home-runtimes"
MODELS = ("cifar10/pytorch/medium", "cifar10/pytorch/mobilenet_v2")
IMAGES, TOLERANCE, ROUNDS, TIMED_S = 200, 1e-3, 400, 20.0
COLUMNS = [
    "network",
    "runtime",
    "worst difference",
    "answers",
    "p50 ms",
    "spread %",
    "times as fast",
    "peak MB",
]
IMPORTS = {
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert.interpreter",
    "opencv": "cv2",
    "ncnn": "ncnn",
}


class Ncnn:
    """A network that pnnx wrote, in ncnn; as in engine.device.model."""

    def __init__(self, path: str | os.PathLike[str], threads: int = 1):
        import ncnn

        self.ncnn, self.net = ncnn, ncnn.Net()
        self.net.opt.num_threads = threads
        stem = str(path).removesuffix(".param")
        self.net.load_param(f"{stem}.param")
        self.net.load_model(f"{stem}.bin")

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, channels, height, width] and returns float32 scores [n, classes]."""
        return np.stack([self._run(one) for one in inputs])

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...]."""
        self._run(one[0])

    def _run(self, one: np.ndarray) -> np.ndarray:
        at_work = self.net.create_extractor()
        at_work.input("in0", self.ncnn.Mat(np.ascontiguousarray(one)).clone())
        return np.array(at_work.extract("out0")[1], np.float32).reshape(-1)


def files_of(model: Any, folder: Path) -> dict[str, Path]:
    """Returns the float file of a model by runtime."""
    found = {}
    for runtime in ("onnxruntime", "litert"):
        done = run(model, "cifar10", "raspberry_pi_4", ["fp16"], 30, home=HOME, runtime=runtime)
        base = next(v for v in done.variants if v.id == "baseline")
        found[runtime] = Workspace(HOME).folder(done.id) / base.artifacts[0].opened
    found["opencv"] = found["onnxruntime"]
    if (param := _converted(model, folder)) is not None:
        found["ncnn"] = param
    return found


def _converted(model: Any, folder: Path) -> Path | None:
    try:
        import ncnn  # noqa: F401
        import pnnx
        import torch
    except ImportError:
        return None
    height, width, channels = model.input_shape
    torch.manual_seed(0)
    x = torch.rand(1, channels, height, width)
    before = Path.cwd()
    os.chdir(folder)  # it writes beside what it reads, and more where it stands
    try:
        pnnx.export(open_network(model).eval(), "net.pt", x)
    finally:
        os.chdir(before)
    return folder / "net.ncnn.param"


def peak_mb(runtime: str, path: Path, inputs: Path) -> float:
    """Returns the peak memory of a process that opens the file and runs one input, above its imports."""
    words = [sys.executable, "-m", "benchmarks.runtimes", "--weigh", runtime, str(path), str(inputs)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def _weigh(runtime: str, path: str, inputs: str) -> None:
    from engine.device.machine import peak_memory_mb

    one = np.load(inputs)
    importlib.import_module(IMPORTS[runtime])
    before = peak_memory_mb() or 0.0
    opened(runtime, Path(path)).run_once(one)
    print((peak_memory_mb() or 0.0) - before)


def opened(runtime: str, path: Path) -> Any:
    """Returns a file in a runtime, on one thread."""
    other = {"ncnn": Ncnn, "opencv": OpenCV}.get(runtime)
    return other(path, 1) if other else open_model(path, 1)


def rows_of(name: str) -> list[list]:
    """Returns the table rows of one network."""
    model = inspect_model(name)
    with tempfile.TemporaryDirectory(prefix="edgewise-runtimes-") as folder:
        files = files_of(model, Path(folder))
        test = datasets.load("cifar10", HOME, ("test",), image_shape=model.input_shape)["test"]
        inputs = preprocess(test.images[:IMAGES], model.preprocessing.model_dump())
        models = {runtime: opened(runtime, path) for runtime, path in files.items()}
        fed = {r: inputs.transpose(0, 2, 3, 1) if r == "litert" else inputs for r in models}
        scores = {r: models[r].predict(fed[r]) for r in models}
        calls = {r: (lambda m=models[r], x=fed[r][:1]: m.run_once(x)) for r in models}
        times = {r: np.array(t) for r, t in measure.time_interleaved(calls, TIMED_S, ROUNDS).items()}
        stored = {}
        for runtime in models:
            stored[runtime] = Path(folder, f"{runtime}.npy")
            np.save(stored[runtime], fed[runtime][:1])
        return [_row(name, r, scores, times, peak_mb(r, files[r], stored[r])) for r in files]


def _row(name: str, runtime: str, scores: dict, times: dict, peak: float) -> list:
    ours, first = scores[runtime], scores["onnxruntime"]
    low, p50, high = np.percentile(times[runtime], [25, 50, 75])
    return [
        name,
        runtime,
        float(f"{np.abs(ours - first).max():.2g}"),
        f"{int((ours.argmax(1) == first.argmax(1)).sum())} of {len(first)} the same",
        round(p50, 4),
        round(100 * (high - low) / p50, 1),
        round(float(np.median(times["onnxruntime"])) / p50, 2),
        round(peak, 1),
    ]


def main() -> None:
    """Runs both networks and writes results/runtimes.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weigh", nargs=3, metavar=("RUNTIME", "FILE", "INPUTS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.weigh:
        return _weigh(*asked.weigh)
    load = round(os.getloadavg()[0], 2)
    rows = [row for name in MODELS for row in rows_of(name)]
    same = [row for row in rows if row[3].split()[0] == row[3].split()[2]]
    alike = [row for row in rows if row[2] <= TOLERANCE]
    targets = [
        {"target": what, "figure": f"{len(found)} of {len(rows)}", "met": len(found) == len(rows)}
        for what, found in (
            (f"every runtime gives the same answers on {IMAGES} test images", same),
            (f"scores within {TOLERANCE} of ONNX Runtime's", alike),
        )
    ]
    title = "One network in every runtime that takes it, float"
    print(record.write("runtimes", title, COLUMNS, rows, targets, load_before=load).read_text())
    return None


if __name__ == "__main__":
    main()
