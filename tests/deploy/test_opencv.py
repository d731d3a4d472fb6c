"""A package in OpenCV instead of the runtime that it was measured in: alike, or one sentence why not."""

import json

import pytest

from tests.deploy.test_package import python

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install -r requirements/opencv.txt")


def said(folder, *words):
    done = python(folder, *words, "--runtime", "opencv")
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["baseline", "prune_unstructured@0.7"])
def test_a_float_file_answers_as_on_the_host(unpacked, name):
    folder = unpacked(name)
    code, text = said(folder, "verify.py", "--json", "found.json")
    assert code == 0, text
    assert json.loads((folder / "found.json").read_text())["worst_difference"] < 1e-4
    code, text = said(folder, "infer.py", "sample.png", "--json")
    assert code == 0 and json.loads(text)["probability"] > 0.5
    code, text = said(folder, "benchmark.py", "--runs", "20", "--threads", "1")
    result = json.loads((folder / "benchmark-result.json").read_text())
    assert code == 0 and (result["runtime"], result["precision"]) == ("opencv", "float32"), text


@pytest.mark.parametrize(("name", "holds"), [("ptq_int8", "in int8"), ("ptq_int4", "in int4")])
def test_what_it_does_not_compute_in_is_one_sentence(unpacked, name, holds):
    code, text = said(unpacked(name), "infer.py", "sample.png")
    assert code == 1 and len(text.strip().splitlines()) == 1
    assert text.startswith("OpenCV runs float ONNX files") and holds in text


def test_a_network_that_it_can_t_run_is_one_sentence(unpacked):
    """The INT8 graph, said to be a float one: OpenCV reads it and fails as it runs."""
    folder = unpacked("ptq_int8")
    facts = json.loads((folder / "metadata.json").read_text())
    facts["artifact"]["precision"] = "float32"
    (folder / "metadata.json").write_text(json.dumps(facts))
    code, text = said(folder, "infer.py", "sample.png")
    assert code == 1 and len(text.strip().splitlines()) == 1, text
    assert text.startswith("OpenCV 5") and ("this network" in text or "this file" in text)
