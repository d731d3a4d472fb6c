"""Train a starter model on someone's own data: asked for by a page or the command line, done behind the wall.

    <home>/starters/<id>.json       how far a training is, written by its own process: `python -m
    engine.starter ID`
    <home>/uploads/<sha256>/…       the trained model with its `model.json`, as if it had been uploaded

Imports no framework.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from engine import messages
from engine.errors import BadInput, reason_of
from engine.frameworks import MADE_HERE
from engine.run.prepare import prepare
from engine.starter.requests import ToKeras, Train, Trained
from engine.store import uploads
from engine.store.files import read_json, sentence_on_full_disk, write_json
from engine.store.workspace import Workspace
from engine.vocabulary import ModelFile, Plain, parse
from engine.wall import processes, sandbox
from engine.wall.limits import Limits
from models.catalog import sha256_of

CHILD = "engine.starter.task"
ORIGINS = {"small": "cifar10/pytorch/small", "medium": "cifar10/pytorch/medium"}
MEMORY_BYTES = 2_000_000_000
GRACE_S = 240  # to start, to resize the pictures and to try the result, besides the training itself
FEW_A_CLASS = 50
ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
Tell = Callable[[dict[str, Any]], None]


def _made_here(name: str) -> str:
    if name not in MADE_HERE:
        raise ValueError(f"starter models come in {' and '.join(MADE_HERE)}")
    return name


class Asked(Plain):
    """What a starter model is trained on and how. `mirror`: a picture and its mirror image are of the same
    class.
    """

    dataset: str
    size: Literal["small", "medium"] = "small"
    framework: Annotated[str, AfterValidator(_made_here)] = "pytorch"
    seconds: float = Field(default=120, ge=5, le=3600)
    seed: int = Field(default=0, ge=0, lt=2**31)
    mirror: bool = True


def train(asked: Asked, home: Path, tell: Tell = lambda message: None) -> ModelFile:
    """Trains a starter model and keeps it among the uploads; returns it, ready for a run.

    `tell` hears `{"fraction", "remaining_s", "accuracy", "text"}`. Raises BadInput for a data set that can't
    be used and where the quota of uploads is full, Failed when a child broke down.
    """
    began = time.monotonic()
    watch = sandbox.Watch(on_message=tell, allowed=messages.STARTER)
    prepare(asked.dataset, home, watch=watch)
    with processes.own_folder(home, ".starter-") as folder:
        work: dict[str, Any] = {"dataset": asked.dataset, "home": home, "folder": folder}
        how = asked.model_dump(include={"seconds", "seed", "mirror"})
        limits = Limits(memory_bytes=MEMORY_BYTES, seconds=2 * asked.seconds + GRACE_S)
        answer = sandbox.run(CHILD, Train(**work, **how, origin=ORIGINS[asked.size]).sent(), limits, watch)
        try:
            trained = Trained.model_validate(answer)
        except ValidationError:
            raise sandbox.Failed("its process answered with something else than a training") from None
        if asked.framework == "keras":
            said = {"accuracy": trained.validation_accuracy, "text": "Turning it into a Keras model"}
            tell({"fraction": 1.0, "remaining_s": None, **said})
            sandbox.run(CHILD, ToKeras(**work, trained=trained).sent(), limits, watch)
        return _kept(asked, trained, folder, home, time.monotonic() - began)


def _kept(asked: Asked, trained: Trained, folder: Path, home: Path, seconds: float) -> ModelFile:
    """Moves the file to the uploads, under the hash of its bytes, and writes what is known of it beside
    it.
    """
    made = folder / ("model.keras" if asked.framework == "keras" else "weights.safetensors")
    digest = sha256_of(made)
    path = home / "uploads" / digest / "model"
    layout = "NHWC" if asked.framework == "keras" else "NCHW"
    fewest = min(trained.class_counts)
    model = parse(
        ModelFile,
        {
            "name": f"starter/{asked.framework}/{asked.size}",
            "path": str(path),
            "sha256": digest,
            "size_bytes": made.stat().st_size,
            "format": "keras_v3" if asked.framework == "keras" else "safetensors",
            "framework": asked.framework,
            "architecture": trained.architecture,
            "input_shape": trained.input_shape,
            "classes": trained.classes,
            "layers": trained.layers,
            "parameters": trained.parameters,
            "preprocessing": trained.preprocessing.model_dump() | {"layout": layout},
            "evidence": [
                f"Trained here on your data in {seconds:.0f} s ({trained.epochs:.0f} epochs):"
                f" {trained.validation_accuracy:.1%} of {trained.validation_images:,} validation images are"
                " right, which also chose the weights."
            ],
            "warnings": (
                [f"The smallest class has only {fewest} training images: more of them would make it surer."]
                if fewest < FEW_A_CLASS
                else []
            ),
        },
    )
    if not path.exists():
        uploads.make_room(made.stat().st_size, home)
    with sentence_on_full_disk():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, path)
        path.with_name("model.json").write_text(model.model_dump_json())
    return model


# ---- in a process of its own, so that a page may be closed meanwhile ---------------------------------------


def start(asked: Asked, home: Path) -> str:
    """Starts a training in a process of its own and returns its id; raises BadInput while another one is at
    work.
    """
    folder = home / "starters"
    folder.mkdir(parents=True, exist_ok=True)
    starter = "s" + secrets.token_urlsafe(16)
    path = folder / f"{starter}.json"
    with Workspace(home).lease("starters") as held:  # so that of two clicks only one looks and starts
        if not held or any(status(other.stem, home)["state"] == "running" for other in folder.glob("*.json")):
            raise BadInput("Another starter model is being trained: wait until it is done, or cancel it.")
        write_json(
            path, {"state": "running", "asked": asked.model_dump(), "process": None, "began": time.time()}
        )
    processes.start_detached("engine.starter", [starter], home, path.with_suffix(".log"))
    return starter


def status(starter: str, home: Path) -> dict[str, Any]:
    """Returns how far a training is: `state` running, done, failed or cancelled, and what it told last.

    Raises BadInput for an unknown id.
    """
    found = read_json(home / "starters" / f"{starter}.json") if ID.fullmatch(starter) else None
    if found is None:
        raise BadInput("No starter model is trained under this id: start one on the upload page.")
    gone = (found["process"] is None and time.time() - found["began"] > 20) or (
        found["process"] and not processes.lives(found["process"])
    )
    if found["state"] == "running" and gone:
        # it may have ended between the two looks
        found = read_json(home / "starters" / f"{starter}.json") or found
        if found["state"] == "running":
            found |= {"state": "failed", "reason": "Its process was killed: train it again."}
    return found


def trained(found: dict[str, Any]) -> ModelFile | None:
    """Returns the model of a training that is done, else None."""
    return parse(ModelFile, found["model"]) if found["state"] == "done" else None


def cancel(starter: str, home: Path) -> None:
    """Stops a training; one that has ended stays as it is."""
    found = status(starter, home)
    if found["state"] != "running":
        return
    write_json(home / "starters" / f"{starter}.json", found | {"state": "cancelled"})
    if found["process"]:
        processes.kill_noted(found["process"])


def work(starter: str, home: Path) -> None:
    """Runs in the training's own process: trains, and writes how far it is."""
    path = home / "starters" / f"{starter}.json"
    state = {**read_json(path), "process": processes.identity(os.getpid())}

    def note(**more: Any) -> None:
        if (read_json(path) or state)["state"] == "cancelled":
            os._exit(0)
        state.update(more)
        write_json(path, state)

    note(fraction=0.0, text="Starting")
    try:
        model = train(
            parse(Asked, state["asked"]),
            home,
            lambda message: note(
                **{k: message.get(k) for k in ("fraction", "remaining_s", "accuracy", "text")}
            ),
        )
        note(state="done", model=model.model_dump(mode="json"))
    except Exception as error:  # a defect of ours must still end the training with a reason
        note(state="failed", reason=reason_of(error))
