"""A starter model on someone's own pictures: trained behind the wall, usable in a run, and nothing looks at
the test part.
"""

import io
import json
import os
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine import ask as enough
from engine import datasets, starter
from engine.cli import main
from engine.errors import BadInput
from engine.formats.inspect import inspect_model
from engine.judge.measure import overfitting
from engine.starter.requests import Trained
from engine.store import uploads
from engine.store.files import write_json
from engine.vocabulary import Preprocessing, parse
from engine.wall import processes

SHAPES = {"circle": ImageDraw.ImageDraw.ellipse, "square": ImageDraw.ImageDraw.rectangle}
COLOURS = {"circle": (210, 60, 40), "square": (40, 90, 200)}


def picture(name: str, random: np.random.Generator, grey: bool) -> bytes:
    """Returns a PNG of one shape somewhere on a noisy ground."""
    image = Image.fromarray(random.integers(90, 130, (48, 56, 1), np.uint8).repeat(3, axis=2))
    x, y, side = (int(v) for v in random.integers((2, 2, 16), (24, 18, 26)))
    SHAPES[name](
        ImageDraw.Draw(image), (x, y, x + side, y + side), fill=(230,) * 3 if grey else COLOURS[name]
    )
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def shapes(path: Path, count: int, grey: bool = False) -> Path:
    """Writes a ZIP with `count` pictures of each shape."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for name in SHAPES:
            for number in range(count):
                archive.writestr(f"{name}/{number}.png", picture(name, random, grey))
    return path


def tiles() -> Path:
    """Returns the magnetic-tile ZIP of the environment, or skips."""
    near = (
        Path(os.environ.get("EDGEWISE_UPLOADS", "/nowhere")).parent
        / "datasets"
        / "magnetic_tile"
        / "magnetic_tile_ok_defect.zip"
    )
    path = Path(os.environ.get("EDGEWISE_TILES", near))
    if not path.is_file():
        pytest.skip("the magnetic-tile ZIP is not here: set EDGEWISE_TILES to it")
    return path


def test_what_is_asked_for_is_checked():
    for wrong in ({"size": "huge"}, {"framework": "caffe"}, {"seconds": 1}, {"seed": -1}):
        with pytest.raises(BadInput):
            parse(starter.Asked, {"dataset": "digits", **wrong})


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "grey"), [("pytorch", False), ("keras", True)])
def test_a_starter_learns_shapes_and_is_recognised(workspace, tmp_path, framework, grey):
    data = str(shapes(tmp_path / "shapes.zip", 60, grey))
    told = []
    model = starter.train(
        parse(starter.Asked, {"dataset": data, "framework": framework, "seconds": 20}),
        workspace.home,
        told.append,
    )
    assert model.classes == ["circle", "square"]
    assert tuple(model.input_shape) == (64, 64, 1 if grey else 3)
    assert [m for m in told if m.get("accuracy") is not None][-1]["accuracy"] >= 0.8
    assert Path(model.path).parent.name == model.sha256 and Path(model.path).with_name("model.json").exists()
    assert not list(workspace.home.glob(".starter-*"))

    found = inspect_model(model.path, dataset=data, home=workspace.home)  # as if it had been uploaded
    assert (found.framework, found.architecture if framework == "pytorch" else None) == (
        framework,
        model.architecture if framework == "pytorch" else None,
    )
    assert (
        found.classes == model.classes and found.preprocessing == model.preprocessing and found.warnings == []
    )


@pytest.fixture
def trained_at_once(monkeypatch):
    """Trainings end at once, with a file of 400 bytes; all uploads together may take 1,000."""

    def answer(child, request, limits, watch):
        Path(request["folder"], "weights.safetensors").write_bytes(os.urandom(400))
        return Trained(
            architecture="small",
            input_shape=(64, 64, 3),
            classes=["circle", "square"],
            preprocessing=Preprocessing(
                height=64, width=64, color="rgb", layout="NCHW", mean=[0.0] * 3, std=[1.0] * 3
            ),
            layers=1,
            parameters=100,
            epochs=1,
            steps=1,
            validation_accuracy=1.0,
            validation_images=10,
            class_counts=[60, 60],
        ).model_dump(mode="json")

    monkeypatch.setattr(starter, "prepare", lambda *given, **how: None)
    monkeypatch.setattr(starter.sandbox, "run", answer)
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)


def test_a_starter_keeps_to_the_quota_of_uploads(workspace, trained_at_once):
    asked = parse(starter.Asked, {"dataset": "digits"})
    old = Path(uploads.keep(b"a" * 700, workspace.home, "model"))
    with pytest.raises(BadInput, match="All uploads together"):
        starter.train(asked, workspace.home)
    assert [old.parent] == list((workspace.home / "uploads").iterdir())
    os.utime(old, (0, 0))  # nobody has used it for long, and no run names it
    made = Path(starter.train(asked, workspace.home).path)
    assert made.exists() and not old.exists()


@pytest.mark.slow
def test_the_command_line_trains_and_writes_a_file(workspace, tmp_path, capsys, monkeypatch):
    data, output = shapes(tmp_path / "shapes.zip", 20), tmp_path / "made" / "model.safetensors"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "engine",
            "train-starter",
            "--dataset",
            str(data),
            "--time-budget",
            "5",
            "--output",
            str(output),
            "--json",
        ],
    )
    assert main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(output) and output.stat().st_size == told["size_bytes"]
    assert "smallest class" in told["warnings"][0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dataset", "dogs.zip"], "No data set is called"),
        (["--dataset", "digits", "--size", "huge"], "size"),
        (["--dataset", "digits", "--time-budget", "1"], "seconds"),
        ([], "--dataset"),
    ],
)
def test_wrong_words_are_one_sentence(workspace, tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.setattr(sys, "argv", ["engine", "train-starter", *words, "--output", str(tmp_path / "model")])
    assert main() == 1
    err = capsys.readouterr().err
    assert says in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_a_training_in_its_own_process_is_watched_and_cancelled(workspace, tmp_path):
    data = str(shapes(tmp_path / "shapes.zip", 30))
    asked = parse(starter.Asked, {"dataset": data, "seconds": 300})
    begun = starter.start(asked, workspace.home)
    try:
        with pytest.raises(BadInput, match="Another starter model"):
            starter.start(asked, workspace.home)
        wait(lambda: starter.status(begun, workspace.home)["process"])
        assert starter.status(begun, workspace.home)["state"] == "running"
    finally:
        starter.cancel(begun, workspace.home)
    found = starter.status(begun, workspace.home)
    assert found["state"] == "cancelled" and starter.trained(found) is None
    wait(lambda: not processes.lives(found["process"]))


def test_two_clicks_start_one_training(workspace, monkeypatch):
    begun = []
    monkeypatch.setattr(processes, "start_detached", lambda module, name, *rest: begun.append(name))
    status = starter.status
    # the look of the first click is slow enough for the second one to look too
    monkeypatch.setattr(starter, "status", lambda *where: (time.sleep(0.2), status(*where))[1])
    old = workspace.home / "starters" / "s-an-old-one.json"
    old.parent.mkdir()
    write_json(old, {"state": "done", "process": None, "began": 0})
    asked, refused = parse(starter.Asked, {"dataset": "digits"}), []

    def click():
        try:
            starter.start(asked, workspace.home)
        except BadInput as error:
            refused.append(str(error))

    clicks = [threading.Thread(target=click) for _ in range(4)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert len(begun) == 1 and len(refused) == 3 and "Another starter model" in refused[0]


def wait(done, seconds: float = 60) -> None:
    """Waits until `done()` is true."""
    deadline = time.time() + seconds
    while not done():
        assert time.time() < deadline
        time.sleep(0.05)


def test_an_unknown_or_hostile_id_is_refused(workspace):
    for wrong in ("", "unknown-unknown", "../../etc/passwd"):
        with pytest.raises(BadInput):
            starter.status(wrong, workspace.home)


def test_too_few_images_are_said_beforehand(tmp_path):
    data = shapes(tmp_path / "shapes.zip", 20)
    datasets.prepare(data, tmp_path)
    found = enough.too_few(datasets.describe(data, tmp_path), ["ptq_int8", "ptq_int4", "distill"])
    assert (
        len(found) == 3
        and "12 training images" in found[0]
        and "4 calibration images" in found[1]
        and "4 validation images" in found[2]
    )
    assert enough.too_few(datasets.describe(data, tmp_path), ["fp16"]) == []


def test_learning_by_heart_is_pointed_out():
    half = np.arange(200) % 2 == 0
    assert (
        "100.0% of 200 training images are right and 50.0% of 200 test images"
        in overfitting(np.ones(200, bool), half)[0]
    )
    assert overfitting(half, half) == [] and overfitting(np.ones(6, bool), np.arange(6) > 0) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_magnetic_tiles_are_learnt(workspace):
    model = starter.train(
        parse(starter.Asked, {"dataset": str(tiles()), "size": "small", "seconds": 120}), workspace.home
    )
    assert model.classes == ["defect", "ok"] and model.input_shape[2] == 1
    assert float(model.evidence[0].split(": ")[1].split("%")[0]) >= 80
