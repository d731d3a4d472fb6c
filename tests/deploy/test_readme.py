"""The package's README, for every device that a run may be for."""

import pytest

from deploy.package import readme
from engine.vocabulary import Artifact, Run, Variant
from estimator.devices import all_devices


@pytest.mark.parametrize("device", [*all_devices(), "one_that_is_gone"])
def test_names_the_device(asked, device):
    artifact = Artifact(path="a/model.onnx", format="onnx", bytes=9, sha256="0" * 64)
    made = Variant(id="fp16", technique="fp16", status="done", artifacts=[artifact])
    run = Run(id="x", state="done", created=0, experiment=asked(device=device), variants=[made])
    name = all_devices()[device].name if device in all_devices() else device
    assert f"# fp16 for {name}" in readme(run, made, "model.onnx")
