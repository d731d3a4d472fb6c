"""Keras networks to float TFLite: converted once a shape, afterwards only the stored weights are written
anew.

The one conversion is done with made-up weights, all different, so that every weight's place in the file is
found by
its bytes.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from engine.backends.keras.graph import Network, Node
from engine.backends.keras.live import Live
from engine.backends.tflite.file import LAYER_OPS, TFLite
from engine.errors import EdgewiseError


@dataclass(frozen=True)
class Place:
    """Where a layer's weights are in the file: its operator and its weight's and bias's tensors (-1: none).

    `shift` is a constant that the converter added to the bias, such as the 3 of a hard sigmoid behind the
    layer.
    """

    operator: int
    weight: int
    bias: int
    kind: str
    shift: float = 0.0


@dataclass
class Exported:
    """A float TFLite file in memory, with the place of every layer by its name; `affine` ones are not
    techniques'.
    """

    file: TFLite
    places: dict[str, Place]
    affine: dict[str, Place]


def export(network: Network, cache: Path) -> Exported:
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
            _write(file, places[node.layer], node, network.weights[node.layer])
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
    _free_batch(file)
    places = _found(file, rewritten, weights)
    missing = [node.layer for node in rewritten if node.layer not in places]
    if missing:
        raise EdgewiseError(
            f"the converter changed the weights of {', '.join(missing[:3])}, so they can't be written into"
            " the file"
        )
    _rename(file, places)
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


def _free_batch(file: TFLite) -> None:
    """Lets reshapes follow the batch, so that the same file may be run with several images at a time."""
    for operator in file.graph.operators:
        if (
            file.op(operator) == "RESHAPE"
            and len(operator.inputs) > 1
            and file.is_constant(int(operator.inputs[1]))
        ):
            shape = file.values(int(operator.inputs[1])).copy()
            if shape.ndim == 1 and len(shape) > 1 and shape[0] == 1 and -1 not in shape:
                shape[0] = -1
                file.store(int(operator.inputs[1]), shape)
                if operator.builtinOptions is not None:
                    operator.builtinOptions.newShape = shape


def _rename(file: TFLite, places: dict[str, Place]) -> None:
    """Gives tensors short names of their own, weights those of their layers: the converter's own take
    kilobytes.
    """
    wanted = {int(file.graph.inputs[0]): "input", int(file.graph.outputs[0]): "output"}
    for layer, place in places.items():
        wanted |= {place.weight: f"{layer}.weight", place.bias: f"{layer}.bias"}
    taken: set[str] = set()
    for index, tensor in enumerate(file.graph.tensors):
        short = plain = wanted.get(index) or file.name(index).split(";")[0].split("/")[0]
        number = 2
        while short in taken:
            short, number = f"{plain}_{number}", number + 1
        taken.add(short)
        tensor.name = short.encode()


def _found(file: TFLite, nodes: list[Node], weights: dict[str, list[np.ndarray]]) -> dict[str, Place]:
    """Finds the operator that holds each layer's made-up weights."""
    by_bytes: dict[bytes, int] = {}
    for number, operator in enumerate(file.graph.operators):
        if file.op(operator) in LAYER_OPS and file.is_constant(int(operator.inputs[1])):
            first = file.graph.operators[
                by_bytes.setdefault(file.values(int(operator.inputs[1])).tobytes(), number)
            ]
            operator.inputs = np.array(
                [operator.inputs[0], *first.inputs[1:]], np.int32
            )  # a layer that is used twice keeps one copy of its weights
    places = {}
    for node in nodes:
        arrays = weights[node.layer]
        number = by_bytes.get(stored_order(node.kind, arrays[0]).tobytes())
        if number is None:
            continue
        operator = file.graph.operators[number]
        bias = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        shift = file.values(bias) - arrays[1] if len(arrays) > 1 and bias >= 0 else np.zeros(1)
        if (len(arrays) > 1 and bias < 0) or np.ptp(shift) > 1e-5:
            continue
        places[node.layer] = Place(
            number, int(operator.inputs[1]), bias, file.op(operator), round(float(shift.mean()), 5)
        )
    return places


def stored_order(kind: str, kernel: np.ndarray) -> np.ndarray:
    """Turns a Keras kernel into the order of TFLite."""
    if kind == "Dense":
        return np.ascontiguousarray(kernel.T)
    if kind == "DepthwiseConv2D":
        return np.ascontiguousarray(kernel.reshape(1, *kernel.shape[:2], -1))
    return np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))


def _write(file: TFLite, place: Place, node: Node, arrays: list[np.ndarray]) -> None:
    file.store(place.weight, stored_order(node.kind, arrays[0]).astype(np.float32))
    if len(arrays) > 1:
        file.store(place.bias, (arrays[1] + place.shift).astype(np.float32))
