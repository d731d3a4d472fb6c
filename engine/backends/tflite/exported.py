"""A float TFLite file with the place of every layer's weights, whichever converter wrote it.

A converter does not say where it puts a layer's weights. So a network is converted once with made-up weights,
all different: each is then found by its bytes, and the real ones are written over them.
"""

from dataclasses import dataclass

import numpy as np

from engine.backends.tflite.file import LAYER_OPS, TFLite


@dataclass(frozen=True)
class Place:
    """Where a layer's weights are in the file: its operator and its weight's and bias's tensors (-1: none).

    `shift` is a constant that the converter added to the bias, such as the 3 of a hard sigmoid behind the
    layer. `positions` is how many places of a picture a dense layer reads at once where its network flattens
    them channels first and the file channels last; 1 where there is no difference.
    """

    operator: int
    weight: int
    bias: int
    kind: str
    shift: float = 0.0
    positions: int = 1

    def columns_last(self, weight: np.ndarray) -> np.ndarray:
        """Returns a dense layer's weight or codes [out, …] with its columns in the order of the file."""
        flat = weight.reshape(len(weight), -1)
        if self.positions == 1:
            return flat
        moved = flat.reshape(len(flat), -1, self.positions).swapaxes(1, 2)
        return np.ascontiguousarray(moved).reshape(flat.shape)


@dataclass
class Exported:
    """A float TFLite file in memory, with the place of every layer by its name; `affine` ones are not
    techniques'.
    """

    file: TFLite
    places: dict[str, Place]
    affine: dict[str, Place]


def free_batch(file: TFLite) -> None:
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


def rename(file: TFLite, places: dict[str, Place]) -> None:
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


def found(file: TFLite, layers: dict[str, tuple[np.ndarray, ...]]) -> dict[str, Place]:
    """Finds the operator that holds each layer's made-up weight (and bias), given in the order of TFLite.

    A layer whose weights the converter changed is not among those returned.
    """
    by_bytes: dict[bytes, int] = {}
    for number, operator in enumerate(file.graph.operators):
        if file.op(operator) in LAYER_OPS and file.is_constant(int(operator.inputs[1])):
            first = file.graph.operators[
                by_bytes.setdefault(file.values(int(operator.inputs[1])).tobytes(), number)
            ]
            # a layer that is used twice keeps one copy of its weights
            operator.inputs = np.array([operator.inputs[0], *first.inputs[1:]], np.int32)
    places = {}
    for layer, (weight, *given) in layers.items():
        number = by_bytes.get(weight.tobytes())
        if number is None:
            continue
        operator = file.graph.operators[number]
        bias = int(operator.inputs[2]) if len(operator.inputs) > 2 else -1
        shift = file.values(bias) - given[0] if given and bias >= 0 else np.zeros(1)
        if (given and bias < 0) or np.ptp(shift) > 1e-5:
            continue
        places[layer] = Place(
            number, int(operator.inputs[1]), bias, file.op(operator), round(float(shift.mean()), 5)
        )
    return places


def write(file: TFLite, place: Place, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Stores a layer's weight, given in the order of TFLite, and its bias [out]; states their shapes."""
    _store(file, place.weight, weight)
    if bias is not None:
        _store(file, place.bias, bias + place.shift)


def _store(file: TFLite, index: int, values: np.ndarray) -> None:
    file.store(index, values.astype(np.float32))
    file.tensor(index).shape = np.array(values.shape, np.int32)
