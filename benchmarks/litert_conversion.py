"""PyTorch to TFLite: `python -m benchmarks.litert_conversion`. torchvision's networks with random weights at
a small size, a process each: what the conversion costs, how far the file's answers are from the network's,
what of its full INT8 file the Edge TPU would leave to the processor, and whether the network, once pruned, is
converted anew.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import record

SIZE, CLASSES, IMAGES, CLOSE, CUT = 64, 10, 20, 1e-4, 0.3
NETWORKS = (
    *("mobilenet_v2", "mobilenet_v3_small", "resnet18", "efficientnet_b0", "squeezenet1_1"),
    *("shufflenet_v2_x0_5", "densenet121", "convnext_tiny"),
)


def one_network(name: str) -> dict:
    """Returns the figures of one network: seconds of the processor, peak bytes, differences relative to the
    largest answer.
    """
    import numpy as np
    import torch

    from engine.backends import backend_for
    from engine.backends.protocol import QuantSpec
    from engine.backends.torch import export_tflite
    from engine.errors import EdgewiseError
    from engine.run.artifacts import peak_bytes
    from engine.vocabulary import Preprocessing
    from estimator.capability import EDGE_TPU_OPERATORS
    from estimator.profile.graph import profile
    from models.torchvision_shim import import_torchvision

    torch.manual_seed(0)
    network = getattr(import_torchvision().models, name)(num_classes=CLASSES).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    how = Preprocessing(height=SIZE, width=SIZE, color="rgb", layout="NCHW", mean=[0.5] * 3, std=[0.25] * 3)
    began = time.process_time()
    import litert_torch  # noqa: F401

    found: dict = {"import_s": time.process_time() - began}
    with tempfile.TemporaryDirectory() as folder:
        backend = backend_for("pytorch", how, Path(folder, "cache"), format="tflite")

        def difference(network: torch.nn.Module, kind: str) -> float:
            path = backend.export(network, None, None, Path(folder, kind))
            wanted = backend.logits(network, images)
            return float(np.abs(backend.predict(path, images) - wanted).max() / np.abs(wanted).max())

        began = time.process_time()
        try:
            found["difference"] = difference(network, "float")
        except EdgewiseError as error:
            return {"reason": str(error)}
        found["conversion_s"] = time.process_time() - began
        found["peak_bytes"] = peak_bytes()
        path = backend.export(network, QuantSpec("static_int8"), images, Path(folder, "int8"))
        left = Counter(layer.op for layer in profile(path).layers if layer.op not in EDGE_TPU_OPERATORS)
        found["left"] = dict(left)
        facts = backend.facts(network)
        if facts.unprunable:
            return found | {"pruned": "can't be pruned"}
        ratios = {layer.name: CUT for layer in facts.layers if layer.kind == "conv" and not layer.is_output}
        pruned = backend.remove_channels(network, ratios, "l2", None, 0)
        converted, convert = [], export_tflite._converted
        export_tflite._converted = lambda *given: converted.append(1) or convert(*given)
        found["pruned_difference"] = difference(pruned, "pruned")
        return found | {"pruned": "converted anew" if converted else "not converted anew"}


def main() -> None:
    """Measures every network in a process of its own and writes the table."""
    rows, done, close, spared = [], 0, 0, 0
    for name in NETWORKS:
        command = [sys.executable, "-m", "benchmarks.litert_conversion", name]
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        said = ran.stdout.strip().splitlines()
        found = json.loads(said[-1]) if ran.returncode == 0 and said else {"reason": "its process broke down"}
        if "reason" in found:
            rows.append([name, *[""] * 5, f"ONNX instead: {found['reason']}"])
            continue
        done += 1
        worst = max(found["difference"], found.get("pruned_difference", 0.0))
        close, spared = close + (worst <= CLOSE), spared + (found["pruned"] == "not converted anew")
        left = ", ".join(f"{count} {op}" for op, count in found["left"].items()) or "nothing"
        seconds = [f"{found[key]:.1f}" for key in ("import_s", "conversion_s")]
        rows.append(
            [name, *seconds, f"{found['peak_bytes'] / 1e6:.0f}", f"{worst:.0e}", left, found["pruned"]]
        )
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    every = f"of {len(NETWORKS)}"
    record.write(
        "litert_conversion",
        "PyTorch networks as TFLite files",
        [
            *("network", "import (s of processor)", "conversion (s of processor)", "peak (MB)"),
            *("largest difference of an answer", "INT8 operators off the Edge TPU's list", "pruned by 30 %"),
        ],
        rows,
        [
            {"target": "converted", "figure": f"{done} {every}", "met": done == len(NETWORKS)},
            {
                "target": f"answers within {CLOSE:g} of the largest",
                "figure": f"{close} of {done}",
                "met": close == done,
            },
            {
                "target": "a pruned network is not converted anew",
                "figure": f"{spared} of {done}",
                "met": spared == done,
            },
        ],
        seed=0,
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one_network(sys.argv[1])))
    else:
        main()
