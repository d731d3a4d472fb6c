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
from deploy.runtime.preprocessing import preprocess
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
