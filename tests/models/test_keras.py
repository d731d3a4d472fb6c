"""The Keras twins, in a process of their own: Keras and PyTorch are not loaded together."""

import json
import os
import subprocess
import sys

import pytest

from engine import datasets
from models.catalog import CATALOG

KERAS = [model for model in CATALOG.values() if model.framework == "keras"]

EVALUATE = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
from engine.device.preprocessing import preprocess
from engine import datasets
from models.catalog import CATALOG
found = {}
for id in sys.argv[2:]:
    model = CATALOG[id]
    test = datasets.load(model.dataset, sys.argv[1], ("test",))["test"]
    network = keras.saving.load_model(model.weights_path, compile=False, safe_mode=True)
    logits = network.predict(preprocess(test.images, model.preprocessing), batch_size=500, verbose=0)
    trained = sum(int(w.shape.num_elements()) for w in network.trainable_weights)
    found[id] = [float((logits.argmax(1) == test.labels).mean()), trained, "torch" in sys.modules]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_the_twins_have_the_accuracy_and_size_of_the_catalog(tmp_path):
    real = bool(os.environ.get("EDGEWISE_DATA"))
    models = [model for model in KERAS if model.dataset == "digits" or real]
    for dataset in {model.dataset for model in models}:
        datasets.prepare(dataset, tmp_path)
    command = [sys.executable, "-c", EVALUATE, str(tmp_path), *(model.id for model in models)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for model in models:
        accuracy, parameters, has_torch = found[model.id]
        assert accuracy == pytest.approx(model.test_accuracy, abs=1.5 / model.test_images)
        assert parameters == model.parameters
        assert not has_torch


def test_a_twin_agrees_with_its_original():
    for twin in KERAS:
        original = CATALOG[twin.id.replace("/keras/", "/pytorch/")]
        assert abs(twin.test_accuracy - original.test_accuracy) <= 0.001 + 1e-9


COMPARE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from safetensors.numpy import load_file
from models.keras import ARCHITECTURES, build, take_over
for name in ARCHITECTURES:
    with np.load(f"{sys.argv[1]}/{name}.npz") as given:
        images, logits = given["images"].transpose(0, 2, 3, 1), given["logits"]
    model = build(name, images.shape[1:], logits.shape[1])
    take_over(model, load_file(f"{sys.argv[1]}/{name}.safetensors"))
    print(name, np.abs(model.predict(images, verbose=0) - logits).max() / np.abs(logits).max())
"""


@pytest.mark.slow
def test_every_architecture_has_a_twin_that_answers_alike(tmp_path):
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from models.pytorch import ARCHITECTURES, build

    for name in ARCHITECTURES:
        network = build(name, 2, 7).eval()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                for values in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                    values.uniform_(0.5, 1.5)
        images = torch.randn(4, 2, 28, 28)
        np.savez(tmp_path / f"{name}.npz", images=images, logits=network(images).detach())
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    command = [sys.executable, "-c", COMPARE, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    differences = {name: float(difference) for name, difference in map(str.split, lines)}
    assert set(differences) == set(ARCHITECTURES)
    assert max(differences.values()) < 1e-4
