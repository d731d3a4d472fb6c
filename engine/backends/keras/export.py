"""Keras networks to float TFLite: converted once a shape, afterwards only the stored weights are written
anew.

The one conversion is done with made-up weights, all different, so that every weight's place in the file is
found by its bytes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from engine.backends.keras.graph import Network, Node
from engine.backends.keras.live import Live
from engine.backends.tflite.exported import Exported, Place, found, free_batch, rename, write
from engine.backends.tflite.file import TFLite
from engine.errors import EdgewiseError
from engine.vocabulary import Preprocessing


def export(network: Network, preprocessing: Preprocessing, cache: Path) -> Exported:
    """Returns the float TFLite file of a network whose BatchNorm is folded, for a batch of one."""
    rewritten = [node for node in network.graph.nodes if node.weighted or node.affine]
    others = {
        name: arrays
        for name, arrays in network.weights.items()
        if arrays and name not in {n.layer for n in rewritten}
    }
    key = f"graph-{network.graph.signature()}{_digest(others)}"
    template = cache / f"{key}.tflite"
    if not template.exists():
        _make_template(network, rewritten, template)
    plan = json.loads(template.with_suffix(".places.json").read_text())
    places = {name: Place(*row) for name, row in plan.items()}
    file = TFLite.read(template)
    for node in rewritten:
        if node.layer in places:
            kernel, *bias = network.weights[node.layer]
            write(file, places[node.layer], stored_order(node.kind, kernel), *bias[:1])
    affine = {node.layer for node in rewritten if node.affine}
    return Exported(
        file,
        {n: p for n, p in places.items() if n not in affine},
        {n: p for n, p in places.items() if n in affine},
    )


def _digest(others: dict[str, list[np.ndarray]]) -> str:
    if not others:
        return ""
    digest = hashlib.sha256()
    for name in sorted(others):
        digest.update(name.encode() + b"".join(a.tobytes() for a in others[name]))
    return "-" + digest.hexdigest()[:12]


def _make_template(network: Network, rewritten: list[Node], target: Path) -> None:
    random = np.random.default_rng(0)
    weights = dict(network.weights)
    for node in rewritten:
        weights[node.layer] = [
            random.uniform(0.05, 0.1, a.shape).astype(np.float32) for a in weights[node.layer]
        ]
    made_up = Network(network.graph, weights)
    live = Live(network.graph).load(made_up)
    file = TFLite(_converted(live))
    free_batch(file)
    stored = {
        node.layer: (stored_order(node.kind, weights[node.layer][0]), *weights[node.layer][1:2])
        for node in rewritten
    }
    places = found(file, stored)
    missing = [node.layer for node in rewritten if node.layer not in places]
    if missing:
        raise EdgewiseError(
            f"the converter changed the weights of {', '.join(missing[:3])}, so they can't be written into"
            " the file"
        )
    rename(file, places)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".places.json").write_text(
        json.dumps({name: list(vars(p).values()) for name, p in places.items()})
    )
    partial = target.with_suffix(".partial")
    partial.write_bytes(file.bytes(compact=False))  # the places refer to the tensors as they are now
    partial.replace(target)


def _converted(live: Live) -> bytes:
    one_image = tf.TensorSpec((1, *live.graph.input_shape), tf.float32, name="input")
    forward = tf.function(lambda x: live.run(x), autograph=False, input_signature=[one_image])
    # frozen beforehand: the converter would keep variables as variables, and matrix products with them
    frozen = convert_variables_to_constants_v2(forward.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()


def stored_order(kind: str, kernel: np.ndarray) -> np.ndarray:
    """Turns a Keras kernel into the order of TFLite."""
    if kind == "Dense":
        return np.ascontiguousarray(kernel.T)
    if kind == "DepthwiseConv2D":
        return np.ascontiguousarray(kernel.reshape(1, *kernel.shape[:2], -1))
    return np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))
