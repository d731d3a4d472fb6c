"""How fragile each layer is: what is lost when only this layer is quantized or pruned, the rest left in
float.

Computed once a run, in the framework on folded weights and validation images; `ptq_int4`, `prune_structured`
and `hybrid` use it, the compare page shows it.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from engine import memory
from engine.backends.backend import Backend
from engine.backends.grid import VALUES_AT_ONCE, dequantized, nearest_grid
from engine.backends.protocol import Facts, Network
from engine.datasets import Part
from engine.vocabulary import LayerSensitivity

FEWEST_IMAGES, MOST_IMAGES = 100, 500
WORK_MACS = 500e9  # for all layers, changes and images together: about half a minute on one processor core
CHANGES = 3  # the kinds of Change
Change = Literal["int8", "int4", "prune"]
PRUNED_SHARE = 0.5


def sensitivity(
    backend: Backend,
    network: Network,
    facts: Facts,
    validation: Part,
    on_layer: Callable[[float, str], None],
    has_time: Callable[[], bool] = lambda: True,
) -> list[LayerSensitivity]:
    """Returns a row a layer and change, worst first within a change.

    Layers come by their number of weights, the largest first; those whose turn does not come while `has_time`
    have no row. `loss_increase` is the rise of the mean cross-entropy against the labels: it tells layers
    apart long before the accuracy of a few hundred images does.
    """
    count = images_for(facts)
    images, labels = np.asarray(validation.images[:count]), np.asarray(validation.labels[:count])
    folded = backend.folded(network)
    weights = backend.weights(folded)
    base = accuracy_and_loss(backend.logits(folded, images), labels)
    rows = []
    for number, layer in enumerate(sorted(facts.layers, key=lambda layer: -layer.weights)):
        if not has_time():
            break
        for change, changed in _changes(weights[layer.name]):
            accuracy, loss = accuracy_and_loss(
                backend.logits(backend.with_weights(folded, {layer.name: changed}), images), labels
            )
            rows.append(
                LayerSensitivity(
                    layer=layer.name,
                    change=change,
                    accuracy_drop_pp=round(100 * (base[0] - accuracy), 3),
                    loss_increase=round(loss - base[1], 6),
                )
            )
        if layer.weights > VALUES_AT_ONCE:
            # a network's parts refer to each other, so that a changed copy stays until it is looked for
            memory.release()
        on_layer((number + 1) / len(facts.layers), layer.name)
    return sorted(rows, key=lambda row: (row.change, -row.loss_increase))


def images_for(facts: Facts) -> int:
    """Returns how many validation images are looked at: by what the network costs, never by the machine's
    speed, so that every machine finds the same sensitivity.
    """
    passes = CHANGES * len(facts.layers) + 1
    return int(np.clip(WORK_MACS / (passes * max(1, facts.macs)), FEWEST_IMAGES, MOST_IMAGES))


def _changes(weight: np.ndarray) -> Iterator[tuple[Change, np.ndarray]]:
    yield "int8", dequantized(nearest_grid(weight, 8))
    yield "int4", dequantized(nearest_grid(weight, 4))
    norms = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    keep = norms >= np.quantile(norms, PRUNED_SHARE) if len(weight) > 1 else np.ones(1, bool)
    yield "prune", weight * keep.reshape((-1,) + (1,) * (weight.ndim - 1))


def accuracy_and_loss(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Returns the accuracy and the mean cross-entropy of logits [n, classes] against labels [n]."""
    if logits.min() >= 0 and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        logits = np.log(np.maximum(logits, 1e-7))  # the network ends in a softmax
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float((logits.argmax(1) == labels).mean()), float(
        -log_probability[np.arange(len(labels)), labels].mean()
    )
