"""Handmade runs, written through the workspace as the engine writes them; their figures are invented, for
tests only.

And how tests read a page.
"""

import json
import os
import time
from pathlib import Path

from engine import events
from engine.store.boards import Measured
from engine.store.workspace import Workspace
from engine.vocabulary import (
    Artifact,
    Constraints,
    Estimate,
    Experiment,
    Host,
    Latency,
    LayerSensitivity,
    ModelFile,
    Preprocessing,
    Recommendation,
    Step,
    Variant,
)
from engine.wall.processes import identity

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "raspberry_pi_4"
TECHNIQUES = ["ptq_int8", "ptq_int4", "prune_structured", "hybrid", "distill"]
HOSTILE = '=HYPERLINK("x")<script>alert(1)</script>`$a$:red[b]'

# id, size, ms, accuracy, drop in pp
FIGURES = [
    ("baseline", 972_000, 1.31, 0.9944, 0.0),
    ("ptq_int8", 262_000, 0.71, 0.9944, 0.0),
    ("ptq_int4", 141_000, 1.33, 0.9582, 3.62),
    ("ptq_int4@mixed", 163_000, 1.32, 0.9916, 0.28),
    ("prune_structured@0.3", 480_000, 0.83, 0.9944, 0.0),
    ("prune_structured@0.5", 251_000, 0.55, 0.9916, 0.28),
    ("prune_structured@0.7", 98_000, 0.31, 0.9861, 0.83),
    ("hybrid", 71_000, 0.36, 0.9889, 0.55),
    ("hybrid@smallest", 31_000, 0.52, 0.9861, 0.83),
]


def model(**changes) -> ModelFile:
    """Returns a model file's facts; the file itself is not there."""
    facts = {
        "name": "digits/pytorch/small",
        "path": "models/weights/digits_pytorch_small.safetensors",
        "sha256": "d" * 64,
        "size_bytes": 972_832,
        "format": "safetensors",
        "framework": "pytorch",
        "architecture": "compact_cnn_32",
        "input_shape": (28, 28, 1),
        "classes": [str(i) for i in range(10)],
        "layers": 9,
        "parameters": 242_410,
        "preprocessing": Preprocessing(
            height=28, width=28, color="grey", layout="NCHW", mean=[0.3], std=[0.3]
        ),
    }
    return ModelFile(**(facts | changes))


def experiment(**changes) -> Experiment:
    """Returns what a run was asked to do."""
    asked = {
        "model": model(),
        "dataset": "digits",
        "device": DEVICE,
        "techniques": TECHNIQUES,
        "constraints": Constraints(max_accuracy_drop_pp=0.8, max_size_mb=0.5),
    }
    return Experiment(**(asked | changes))


def variant(name: str, size: int, ms: float, accuracy: float, drop: float, estimates: bool = True) -> Variant:
    """Returns a finished variant with every figure that a page may show."""
    wrong = round((1 - accuracy) * 359)
    confusion = [[36 if i == j else 0 for j in range(10)] for i in range(10)]
    for i in range(wrong):
        confusion[8][i % 8] += 1
        confusion[8][8] -= 1
    recalls = [row[i] / sum(row) for i, row in enumerate(confusion)]
    found = Estimate(
        device=DEVICE,
        runtime="ONNX Runtime",
        precision="int8" if "int" in name else "float32",
        threads=4,
        latency_ms=4 * ms,
        low_ms=3.3 * ms,
        high_ms=4.9 * ms,
        memory_mb=41,
        energy_mj=12 * ms,
        confidence=0.7,
        why="37 similar networks measured on this device.",
    )
    return Variant(
        id=name,
        technique=name.split("@")[0],
        status="done",
        seconds=12.5,
        accuracy=accuracy,
        accuracy_low=accuracy - 0.012,
        accuracy_high=min(1, accuracy + 0.004),
        accuracy_drop_pp=drop,
        accuracy_drop_low_pp=drop - 0.4,
        accuracy_drop_high_pp=drop + 0.9,
        p_value=1.0 if drop < 0.9 else 0.001,
        worst_class_recall=min(recalls),
        per_class_recall=recalls,
        confusion=confusion,
        test_images=359,
        validation_accuracy=accuracy,
        size_bytes=size,
        compressed_bytes=int(size * 0.91),
        parameters=size // 4,
        nonzero_parameters=size // 4,
        macs=int(6_700_000 * ms / 1.31),
        sparsity=0.0,
        host=Host(
            runtime="ONNX Runtime",
            runtime_version="1.23",
            threads=2,
            peak_memory_bytes=52_000_000,
            latency_ms=Latency(p50=ms, p95=ms * 1.2, p99=ms * 1.5),
            throughput_per_s=1000 / ms,
            interleaved=True,
        ),
        estimates={DEVICE: found} if estimates else {},
        notes=["Calibrated on 180 images."],
        artifacts=[Artifact(path=f"artifacts/{name}/model.onnx", format="onnx", bytes=size, sha256="a" * 64)],
        steps=[
            Step(what="fold", why="BatchNorm costs time and changes nothing."),
            Step(
                what="quantize",
                parameters={"bits": 8, "per_channel": True},
                why="Small weights keep their precision.",
            ),
        ],
        admissible="yes" if drop <= 0.8 and size <= 500_000 else "no",
        misses=(
            {"max_accuracy_drop_pp": round(drop - 0.8, 2)}
            if drop > 0.8
            else {"max_size_mb": size / 1e6 - 0.5}
            if size > 500_000
            else {}
        ),
        kept=({"max_accuracy_drop_pp": "measured"} if drop <= 0.8 and size <= 500_000 else {}),
    )


def variants(estimates: bool = True) -> list[Variant]:
    """Returns a whole run's variants, a failed and a skipped one among them."""
    return [
        *(variant(*row, estimates=estimates) for row in FIGURES),
        Variant(
            id="distill",
            technique="distill",
            status="failed",
            seconds=3,
            reason="The child was killed, because it used more than 1,500 MB. Try a smaller batch.",
        ),
        Variant(
            id="fp16",
            technique="fp16",
            status="skipped",
            reason="This processor has no 16-bit arithmetic: the file would be smaller and no faster.",
        ),
    ]


def queued(home: Workspace, **changes) -> str:
    """Writes a run that waits and returns its id."""
    return home.create(experiment(**changes))


def begun(home: Workspace, worker: int, **changes) -> str:
    """Writes a run at work, with a living process as its worker and one technique finished.

    The process must be the leader of a group of its own: cancelling kills the whole group.
    """
    run = queued(home, **changes)
    expected = {"baseline": 5, "ptq_int8": 5, "ptq_int4": 20, "timing": 10}
    expected |= {"prune_structured": 60, "hybrid": 60, "distill": 60}
    home.append(run, events.StateChanged(state="running"))
    home.append(run, events.ProcessStarted(**identity(worker), what="worker"))
    home.append(run, events.PlanMade(seconds=expected))
    for done, name in enumerate(("baseline", "ptq_int8")):
        home.append(run, events.LineChanged(technique=name, status="working"))
        home.write_variant(run, variant(*FIGURES[done], estimates=False))
        home.append(run, events.VariantWritten(technique=name, variant=name))
        home.append(run, events.LineChanged(technique=name, status="done"))
    home.append(run, events.LineChanged(technique="ptq_int4", status="working"))
    text = "Rounding layer 4 of 9"
    home.append(run, events.ProgressMade(technique="ptq_int4", fraction=0.4, text=text, remaining_s=11))
    home.append(run, events.Logged(technique="ptq_int4", text="conv1 stays INT8"))
    return run


def finished(
    home: Workspace, estimates: bool = True, recommendation: Recommendation | None = None, **changes
) -> str:
    """Writes a run with every kind of variant in it and returns its id."""
    run = queued(home, **changes)
    home.append(run, events.StateChanged(state="running"))
    for made in variants(estimates):
        home.append(run, events.LineChanged(technique=made.technique, status="working"))
        home.write_variant(run, made)
        home.append(run, events.VariantWritten(technique=made.technique, variant=made.id))
        home.append(
            run,
            events.LineChanged(technique=made.technique, status=made.status, reason=made.reason),
        )
    rows = [
        LayerSensitivity(
            layer=f"features.{i}.conv",
            change=change,
            accuracy_drop_pp=drop / (i + 1),
            loss_increase=drop / 50,
        )
        for i in range(5)
        for change, drop in (("int8", 0.1), ("int4", 2.4), ("prune", 1.2))
    ]
    home.write_result(
        run,
        sensitivity=[row.model_dump() for row in rows],
        recommendation=(recommendation or chosen()).model_dump(),
    )
    home.append(run, events.StateChanged(state="done"))
    return run


def on_board(same: int) -> Measured:
    """Returns what a board sends of a variant for which so many of 36 golden pictures get the same answer."""
    right = {"pictures": 36, "same_answers": same, "agrees": same == 36, "worst_difference": 0.1}
    machine = {"board": "of no account", "during": {"temperature_c": 61.2}}
    one = {"runtime": "onnxruntime", "threads": 4, "precision": "int8", "latency_ms": {"p50": 1.5}}
    watts = {"sensor": "INA3221", "covers": "the board", "idle_w": 2, "load_w": 4, "runs": 99}
    one |= {"energy": watts | {"mj": 6.0, "mj_above_idle": 3.0}}
    return Measured(answers=right, rounds=[one | {"machine": machine}])


def chosen() -> Recommendation:
    """Returns the recommendation of `finished`."""
    return Recommendation(
        winner="hybrid",
        ranking=["hybrid", "prune_structured@0.5", "ptq_int4@mixed", "ptq_int8", "prune_structured@0.3"],
        reasons=[
            "It is the smallest of 5 variants that meet every limit.",
            "It loses no more than the test images can show.",
        ],
        binding="max_accuracy_drop_pp",
        flips=[
            {
                "constraint": "max_accuracy_drop_pp",
                "to": 0.9,
                "winner": "hybrid@smallest",
                "text": "Allow a drop of 0.9 pp and hybrid@smallest would win.",
            }
        ],
        picks={"quality": "ptq_int8", "balanced": "hybrid", "compact": "hybrid"},
    )


def of_schema(home: Workspace, version: int) -> str:
    """Writes a run that another Edgewise wrote and returns its id."""
    run = finished(home)
    path = home.folder(run) / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    return run


def ended(home: Workspace, state: str, reason: str) -> str:
    """Writes a run that ended early, with one variant kept, and returns its id."""
    run = begun(home, os.getpid())
    home.append(run, events.StateChanged(state=state, reason=reason, time=time.time()))
    return run


def words(app) -> str:
    """Returns all the text on a page, for tests that look for a sentence."""
    found = []
    for kind in (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "error",
        "info",
        "warning",
        "success",
        "code",
    ):
        found += [element.value for element in getattr(app, kind)]
    return (
        "\n".join(str(text) for text in found).replace("\\", "").replace("\u00a0", " ").replace("\u2060", "")
    )
