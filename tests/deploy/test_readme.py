"""The package's README, for every device that a run may be for."""

import pytest

from deploy.package import readme
from engine.vocabulary import Answered, Artifact, Run, Variant
from estimator.devices import all_devices


@pytest.mark.parametrize("device", [*all_devices(), "one_that_is_gone"])
def test_names_the_device(asked, device):
    artifact = Artifact(path="a/model.onnx", format="onnx", bytes=9, sha256="0" * 64)
    made = Variant(id="fp16", technique="fp16", status="done", artifacts=[artifact])
    run = Run(id="x", state="done", created=0, experiment=asked(device=device), variants=[made])
    name = all_devices()[device].name if device in all_devices() else device
    said = readme(run, made, "model.onnx")
    ended = all_devices()[device].ended if device in all_devices() else ""
    assert f"# fp16 for {name}" in said
    assert ("No longer supported by its maker" in said) == bool(ended) and ended in said


def test_says_below_which_probability_a_person_halves_the_errors(asked):
    shares = [(0.0, 1.0, 0.95), (0.7, 0.9, 0.98)]
    answered = [
        Answered(confidence=at, validation_share=s, validation_accuracy=a, test_share=s, test_accuracy=a)
        for at, s, a in shares
    ]
    artifact = Artifact(path="a/model.onnx", format="onnx", bytes=9, sha256="0" * 64)
    made = Variant(id="fp16", technique="fp16", status="done", artifacts=[artifact], answered=answered)
    run = Run(id="x", state="done", created=0, experiment=asked(), variants=[made])
    said = readme(run, made, "model.onnx")
    assert "`--min-confidence 0.7`" in said and "90.0 % of the test images alone, 98.00 %" in said
    chosen = readme(run, made, "model.onnx", asks=answered[1])
    assert 'Below a probability of 0.7 it answers "unsure"' in chosen and "98.00 %" in chosen
    assert "halve" not in chosen
    close = answered[1].model_copy(update={"confidence": 0.9998769})
    assert "probability of 0.999876 it" in readme(run, made, "model.onnx", asks=close)
