"""What a package's scripts do on a device: show that it answers as the host did, and whose fault it is
where not.
"""

import csv
import hashlib
import io
import json
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from tests.deploy.test_package import python


def verified(folder) -> dict:
    """Runs verify.py and returns what it wrote, with its exit code."""
    done = python(folder, "verify.py", "--json", "found.json", "--threads", "1")
    return json.loads((folder / "found.json").read_text()) | {
        "code": done.returncode,
        "said": done.stdout.strip(),
    }


@pytest.mark.parametrize("name", ["baseline", "ptq_int4@mixed", "hybrid@smallest"])
def test_it_answers_as_it_was_measured(unpacked, name):
    found = verified(unpacked(name))
    assert (found["code"], found["agrees"], found["same_answers"]) == (0, True, found["pictures"])
    assert found["pictures"] >= 36 and found["worst_difference"] < 1e-3 and found["decoding_difference"] == 0
    assert found["said"] == found["sentence"]


BROKEN = {
    "decoding": (
        "image.py",
        "return np.asarray(image, np.uint8)",
        "return 255 - np.asarray(image, np.uint8)",
    ),
    "preprocessing": ("preprocessing.py", 'np.float32(spec["scale"])', 'np.float32(-spec["scale"])'),
    "the runtime": (
        "model.py",
        "return np.concatenate(scores).reshape",
        "return -np.concatenate(scores).reshape",
    ),
}


@pytest.mark.parametrize("blamed", BROKEN)
def test_the_step_that_differs_is_blamed(unpacked, blamed):
    folder, (script, right, wrong) = unpacked("ptq_int8"), BROKEN[blamed]
    code = (folder / script).read_text()
    assert right in code
    (folder / script).write_text(code.replace(right, wrong))
    found = verified(folder)
    assert found["code"] == 1 and found["to_blame"] == blamed and not found["agrees"]
    assert found["first_that_differs"] in found["said"] and blamed in found["said"]


def test_a_runtime_that_answers_otherwise_gives_no_answer_at_all(unpacked):
    """And is tried only once: what was seen to be right is noted."""
    folder, (script, right, wrong) = unpacked("ptq_int8"), BROKEN["the runtime"]
    assert python(folder, "infer.py", "sample.png").returncode == 0
    code = (folder / script).read_text()
    (folder / script).write_text(code.replace(right, wrong))
    assert python(folder, "infer.py", "sample.png").returncode == 0  # this version has been tried
    (folder / ".tried").unlink()
    done = python(folder, "infer.py", "sample.png")
    assert done.returncode == 1 and "answers otherwise here" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "member, content, says",
    [
        ("model.onnx", b"another", "is not the file that was measured"),
        ("metadata.json", b"{", "unpack the package again"),
    ],
)
def test_a_changed_package_is_one_sentence(unpacked, member, content, says):
    folder = unpacked("ptq_int8")
    (folder / member).write_bytes(content)
    for script in ("infer.py", "verify.py", "benchmark.py"):
        done = python(folder, script, *(["sample.png"] if script == "infer.py" else []))
        assert done.returncode == 1 and says in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_the_sums_are_those_of_all_files(unpacked):
    folder = unpacked("ptq_int8")
    lines = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {name for _, name in lines} | {"SHA256SUMS"} == found
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for digest, name in lines)


def test_folders_tables_doubts_and_pictures(unpacked):
    folder = unpacked("ptq_int8")
    done = python(
        *(
            folder,
            "infer.py",
            "golden",
            "--json",
            "--csv",
            "t.csv",
            "--annotate",
            "seen",
            "--min-confidence",
            "0.999",
        )
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) >= 36 and {a["class"] for a in answers if a["probability"] < 0.999} == {"unsure"}
    rows = list(csv.DictReader(io.StringIO((folder / "t.csv").read_text())))
    assert [(row["image"], row["class"]) for row in rows] == [(a["image"], a["class"]) for a in answers]
    seen = Image.open(folder / "seen" / "00.jpg.png").convert("L")
    assert np.any(np.asarray(seen) != np.asarray(Image.open(folder / "golden" / "00.jpg").convert("L")))


def test_the_threshold_that_was_chosen_is_the_default(unpacked):
    folder = unpacked("ptq_int8")
    facts = json.loads((folder / "metadata.json").read_text())
    assert facts["min_confidence"] is None
    (folder / "metadata.json").write_text(json.dumps(facts | {"min_confidence": 1.1}))
    for script in (("infer.py", "sample.png"), ("realtime.py", "--frames", "1")):
        assert "unsure (" in python(folder, *script).stdout
    assert "unsure" not in python(folder, "infer.py", "golden", "--min-confidence", "0").stdout


def test_it_serves_pictures_and_refuses_the_rest(unpacked):
    folder = unpacked("ptq_int8")
    server = subprocess.Popen(
        [sys.executable, "serve.py", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        address = server.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{address}/health", timeout=30) as health:
            assert json.load(health)["ready"] is True
        sample = (folder / "sample.png").read_bytes()
        with urllib.request.urlopen(f"{address}/predict", sample, timeout=30) as answer:
            found = json.load(answer)
        ours = json.loads(python(folder, "infer.py", "sample.png", "--json").stdout)
        assert found == {key: ours[key] for key in ("class", "index", "probability")}
        for path, body, code in (("/predict", b"no picture", 400), ("/", b"x", 404), ("/predict", b"", 413)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{address}{path}", body, timeout=30)
            assert caught.value.code == code and json.load(caught.value)["error"]
    finally:
        server.terminate()
        server.wait(10)


def test_a_stream_is_classified_and_what_is_dropped_is_counted(unpacked):
    folder = unpacked("ptq_int8")
    done = python(
        folder, "realtime.py", "--source", "synthetic", "--headless", "--frames", "60", "--fps", "60"
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["frames"] == 60 == found["classified"] + found["dropped"]
    assert sum(found["answers"].values()) == found["classified"]
    # a device that does not keep up drops pictures, and goes on
    code = (folder / "classifier.py").read_text()
    slow = code.replace(
        "        best = int(np.argmax(shares))", "        import time; time.sleep(0.1)\n        best = 0"
    )
    (folder / "classifier.py").write_text(slow)
    found = json.loads(
        python(folder, "realtime.py", "--headless", "--frames", "40", "--fps", "100").stdout.splitlines()[-1]
    )
    assert found["dropped"] > 20 and found["frames"] == 40
    (folder / "golden" / "extra.png").write_bytes(b"no picture")
    broken = python(folder, "realtime.py", "--source", "golden", "--headless")
    assert broken.returncode == 1 and "extra.png can't be read as an image" in broken.stderr


def test_a_benchmark_says_which_machine_it_was(unpacked):
    folder = unpacked("baseline")
    assert python(folder, "benchmark.py", "--runs", "20", "--threads", "1").returncode == 0
    found = json.loads((folder / "benchmark-result.json").read_text())
    assert found["machine"]["architecture"] and {"before", "during", "after"} <= set(found["machine"])
    assert found["models"][0]["memory_mb"] > 10
