"""Mixed precision is a promise: with all choices together a network keeps the tolerance on validation images,
whatever the network, in both frameworks.
"""

import numpy as np
import pytest

from engine.backends import backend_for
from engine.datasets import Part
from engine.techniques import ptq_int4, ptq_int8
from engine.techniques.job import Data, Job
from engine.techniques.shared.mixing import least
from engine.techniques.shared.sensitivity import sensitivity
from engine.techniques.workbench import Workbench
from engine.vocabulary import Preprocessing

IMAGES = np.random.default_rng(0).integers(0, 256, (160, 8, 8, 3), np.uint8)
SPREAD = np.float32([1, 300])  # of the channels of one layer: a range for all of them leaves nothing of most


def pytorch_network():
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU6(), nn.Conv2d(16, 16, 3, groups=16), nn.ReLU(), nn.Conv2d(16, 24, 1)
    )
    network[0].weight.data *= 3
    spread(network[2].weight.data.numpy(), network[4].weight.data.numpy())
    return nn.Sequential(*network, nn.Flatten(), nn.Linear(24 * 16, 10)).eval().requires_grad_(False)


def keras_network():
    import keras
    from keras import layers

    from engine.backends.keras.apart import graph_of

    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for layer in (layers.Conv2D(16, 3, activation="relu"), layers.DepthwiseConv2D(3, activation="relu")):
        x = layer(x)
    x = layers.Flatten()(layers.Conv2D(24, 1)(x))
    model = keras.Model(inputs, layers.Dense(10)(x))
    first, last = (model.layers[i].get_weights() for i in (2, 3))
    spread(first[0].transpose(2, 3, 0, 1), last[0].transpose(3, 2, 0, 1))
    model.layers[2].set_weights(first)
    model.layers[3].set_weights(last)
    return graph_of(model)


def spread(depthwise: np.ndarray, after: np.ndarray) -> None:
    """Makes channels differ in range by 300, in place; what the network computes stays the same."""
    factors = np.exp(np.linspace(*np.log(SPREAD), len(depthwise))).astype(np.float32)
    depthwise *= factors.reshape(-1, 1, 1, 1)
    after /= factors.reshape(1, -1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("framework, made", [("pytorch", pytorch_network), ("keras", keras_network)])
def test_mixed_keeps_the_tolerance_on_validation(framework, made, tmp_path):
    layout = "NCHW" if framework == "pytorch" else "NHWC"
    how = Preprocessing(height=8, width=8, color="rgb", layout=layout, mean=[0.5] * 3, std=[0.25] * 3)
    backend, network = backend_for(framework, how, tmp_path), made()
    part = Part(IMAGES, backend.logits(network, IMAGES).argmax(axis=1))  # all right in float
    facts, messages, raised = backend.facts(network), [], 0
    rows = tuple(sensitivity(backend, network, facts, part, lambda done, layer: None))
    for tolerance in (0.0, 0.05):
        messages.clear()
        job = Job("ptq_int4", None, facts, tmp_path, 0, 1.0, tolerance=tolerance, sensitivity=rows)
        bench = Workbench(job, backend, Data(part, part, part), messages.append)
        bench._network = network
        for technique in (ptq_int4, ptq_int8):
            technique.run(bench)
        found = {m["variant"]["id"]: m["variant"] for m in messages if m["kind"] == "variant_made"}
        for technique in ("ptq_int4", "ptq_int8"):
            plain, mixed = found[technique], found.get(f"{technique}@mixed")
            kept = plain["validation_accuracy"] >= 1 - tolerance - 1e-9
            assert (mixed is None) == (kept and technique == "ptq_int8")
            if mixed and mixed["status"] == "done":
                assert mixed["validation_accuracy"] >= 1 - tolerance - 1e-9
                assert any("bytes more than" in note for note in mixed["notes"])
                raised += not kept
            elif mixed:
                assert mixed["status"] == "skipped" and "than is allowed" in mixed["reason"]
    assert raised >= 2  # or nothing was at stake


@pytest.mark.parametrize("right, asked", [(0, 3), (5, 5), (17, 17), (20, 20), (21, None)])
def test_the_least_step_that_holds(right, asked):
    tried = []
    assert least(lambda step: tried.append(step) or step >= right, 3, 20) == asked
    assert len(tried) <= 10 and len(set(tried)) == len(tried)
    assert least(lambda step: step >= right, 3, 20, lambda: True) == (20 if 3 < right <= 20 else asked)
