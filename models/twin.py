"""Make the Keras twin of a shipped PyTorch model out of its weights; run by `python -m models.train
ID/keras/SIZE`.

This process imports Keras and never PyTorch: the weights come as safetensors, the answers to match as npz.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import load_file

from engine import datasets
from engine.device.preprocessing import preprocess
from models import cards
from models.catalog import CATALOG, FOLDER, ShippedModel, add_to_catalog, sha256_of
from models.keras import build, take_over

LEAST_AGREEMENT = 0.999


def make_twin(model_id: str, reference: Path, home: Path) -> ShippedModel:
    """Build, check, save and enter the Keras twin `model_id`; returns its catalog entry.

    `reference` is an npz with the PyTorch model's logits, float32 [n, classes], for "validation" and "test".
    Raises SystemExit when fewer than 99.9 % of the predictions agree.
    """
    original = CATALOG[model_id.replace("/keras/", "/pytorch/")]
    model = build(original.architecture, original.input_shape, len(original.classes))
    take_over(model, load_file(original.weights_path))
    weights = FOLDER / "weights" / f"{model_id.replace('/', '_')}.keras"
    model.save(weights)
    saved = keras.saving.load_model(weights, compile=False, safe_mode=True)

    preprocessing = original.preprocessing | {"layout": "NHWC"}
    parts = datasets.load(original.dataset, home, ("validation", "test"))
    accuracy, agreement = {}, []
    with np.load(reference) as answers:
        for name, part in parts.items():
            predicted = saved.predict(
                preprocess(part.images, preprocessing), batch_size=500, verbose=0
            ).argmax(1)
            accuracy[name] = float((predicted == part.labels).mean())
            agreement.append(predicted == answers[name].argmax(1))
    agreement = float(np.concatenate(agreement).mean())
    if agreement < LEAST_AGREEMENT:
        weights.unlink()
        raise SystemExit(f"{model_id}: only {agreement:.2%} of the predictions agree with {original.id}")
    twin = dataclasses.replace(
        original,
        id=model_id,
        framework="keras",
        weights=f"weights/{weights.name}",
        sha256=sha256_of(weights),
        preprocessing=preprocessing,
        test_accuracy=accuracy["test"],
        validation_accuracy=accuracy["validation"],
        size_bytes=weights.stat().st_size,
        command=f"python -m models.train {model_id}",
        notes=(
            f"The weights of `{original.id}`, taken over; {agreement:.2%} of the predictions agree with it."
        ),
    )
    add_to_catalog(twin)
    cards.write_cards()
    return twin


if __name__ == "__main__":
    twin = make_twin(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    print(f"{twin.id}: {twin.test_accuracy:.2%} on the test part; {twin.notes}")
