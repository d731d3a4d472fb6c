"""Which techniques work on which Keras architectures: keras.applications with random weights and a small
input.

Accuracy means nothing here (the weights and the images are random); what counts is whether each variant is
made, runs in LiteRT and is smaller. A cell holds the size ratio to the baseline, or why there is none. Each
network has a process of its own; by default the first variant of every technique is made, with ten
fine-tuning steps.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks import record
from engine.techniques import TECHNIQUES

SIZES = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "ResNet50": 32,
    "EfficientNetB0": 32,
    "DenseNet121": 32,
    "VGG16": 32,
    "Xception": 71,
}
CLASSES, IMAGES = 10, 96
MEMORY_BYTES = 6_000_000_000


class Enough(BaseException):
    """Ends a technique when a variant begins that is not wanted."""


def only(variant: str, messages: list):
    """Returns what keeps a technique's messages and ends it when another variant begins."""

    def send(message: dict) -> None:
        if message["kind"] == "variant_started" and message["variant"] != variant:
            raise Enough
        messages.append(message)

    return send


def one_network(name: str, size: int, techniques: list[str], every: bool) -> dict:
    """Makes variants of one network in this process; returns {technique: cell, "seconds": …, "states": …}."""
    import resource

    import keras
    import numpy as np

    from engine.backends import backend_for
    from engine.backends.keras.apart import graph_of
    from engine.datasets import Part
    from engine.techniques.job import Data, Job
    from engine.techniques.workbench import Workbench
    from engine.vocabulary import ModelFile, Preprocessing

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    keras.utils.set_random_seed(0)
    network = graph_of(
        getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=CLASSES)
    )
    preprocessing = Preprocessing(
        height=size, width=size, color="rgb", layout="NHWC", mean=[0.0] * 3, std=[1.0] * 3
    )
    model = ModelFile(
        name=name,
        path="",
        sha256="",
        size_bytes=0,
        format="keras_v3",
        framework="keras",
        input_shape=(size, size, 3),
        classes=[str(i) for i in range(CLASSES)],
        layers=0,
        parameters=0,
        preprocessing=preprocessing,
    )
    random, began = np.random.default_rng(0), time.monotonic()
    part = Part(
        random.integers(0, 256, (IMAGES, size, size, 3), dtype=np.uint8), random.integers(0, CLASSES, IMAGES)
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "cache").mkdir()
        backend = backend_for("keras", preprocessing, home / "cache", 2)
        facts = backend.facts(network)
        base = backend.export(network, None, None, home / "baseline").stat().st_size
        found = {"states": {}, "locked": backend.locked(network)}
        for technique in techniques:
            reason = TECHNIQUES[technique].why_not(facts)
            if reason:
                found[technique] = f"skipped: {reason}"
                continue
            messages: list[dict] = []
            job = Job(technique, model, facts, home, seed=0, seconds=0.01, tolerance=0.003)
            send = messages.append if every else only(TECHNIQUES[technique].variants[0], messages)
            bench = Workbench(job, backend, Data(part, part, part), send)
            bench._network = network
            with suppress(Enough):
                TECHNIQUES[technique].run(bench)
            made = [m["variant"] for m in messages if m["kind"] == "variant_made"]
            found["states"] |= {v["id"]: v["status"] for v in made}
            found[technique] = _cell(made, base)
            print(f"  {name} {technique}: {found[technique]}", file=sys.stderr, flush=True)
    found["seconds"] = round(time.monotonic() - began)
    return found


def _cell(made: list[dict], base: int) -> str:
    bad = next((v for v in made if v["status"] != "done"), None)
    done = [v for v in made if v["status"] == "done"]
    text = f"{len(done)}/{len(made)} done, {max(base / v['size_bytes'] for v in done):.1f}x" if done else ""
    return text + (f" ({bad['id']} {bad['status']}: {bad['reason']})" if bad else "")


def _in_child(name: str, arguments: argparse.Namespace) -> dict:
    command = [
        sys.executable,
        "-m",
        "benchmarks.keras_architectures",
        "--one",
        name,
        "--techniques",
        arguments.techniques,
    ]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command + ["--every"] * arguments.every,
        stdout=subprocess.PIPE,
        env=environment,
        timeout=arguments.limit,
    )
    if done.returncode:
        reason = f"failed: the process ended with code {done.returncode}"
        return dict.fromkeys(arguments.techniques.split(","), reason) | {
            "states": {"all": "failed"},
            "seconds": 0,
        }
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Makes the variants of every network, writes results/keras_architectures.*; finished networks are kept
    in build/.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(SIZES))
    parser.add_argument("--techniques", default=",".join(TECHNIQUES))
    parser.add_argument(
        "--every", action="store_true", help="make every variant of a technique, not only its first"
    )
    parser.add_argument("--limit", type=int, default=1800, help="seconds for one network")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(
            json.dumps(
                one_network(
                    arguments.one, SIZES[arguments.one], arguments.techniques.split(","), arguments.every
                )
            )
        )
        return
    from benchmarks.engine_run import BUILD

    BUILD.mkdir(parents=True, exist_ok=True)
    rows, states = [], {}
    for name in arguments.networks.split(","):
        kept = BUILD / f"keras-architectures-{name}{'-every' * arguments.every}.json"
        if not kept.exists():
            kept.write_text(json.dumps(_in_child(name, arguments)))
        found = json.loads(kept.read_text())
        states[name] = found["states"]
        rows.append(
            [
                name,
                SIZES[name],
                *(found.get(t, "not asked for") for t in arguments.techniques.split(",")),
                found["seconds"],
            ]
        )
        print(rows[-1], flush=True)
    failed = [
        f"{name} {variant}"
        for name, made in states.items()
        for variant, status in made.items()
        if status == "failed"
    ]
    left_out = [name for name in SIZES if name not in states]
    figure = (", ".join(failed) or "no failure") + (f"; not run: {', '.join(left_out)}" if left_out else "")
    targets = [
        {
            "target": "the first variant of each technique is made or skipped with a stated cause",
            "figure": figure,
            "met": not failed and not left_out,
        }
    ]
    record.write(
        "keras_architectures",
        "Techniques by architecture (Keras, random weights, small input)",
        ["network", "pixels", *arguments.techniques.split(","), "run s"],
        rows,
        targets,
        states=states,
    )


if __name__ == "__main__":
    main()
