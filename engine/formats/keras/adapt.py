"""A Keras model made one that takes a picture and gives one score a class: a reshape in front of a flat
input, two classes in place of one output. What was done is said in sentences.
"""

import math

import keras
import numpy as np
from keras import layers

from engine.errors import BadInput

LEAST_SIDE, MOST_SIDE = 8, 1_024
LOGITS = ("linear", "tanh")  # the sign of the one output decides …
PROBABILITIES = ("sigmoid", "hard_sigmoid")  # … or whether it is above a half


def image_shapes(model: keras.Model, size: int | None) -> tuple[list[tuple[int, int, int]], bool]:
    """Returns what pictures (height, width, channels) the model may take; whether it wants channels first.

    size: of the data set's pictures, where the model takes any. Raises BadInput where it takes no picture.
    """
    shapes = [tuple(i.shape[1:]) for i in model.inputs]
    shape = shapes[0]
    if len(shapes) == 1 and len(shape) == 1 and shape[0] and (found := of_a_row(shape[0], size)):
        return found, False
    if len(shapes) == 1 and len(shape) == 2 and all(n and LEAST_SIDE <= n <= MOST_SIDE for n in shape):
        return [(*shape, 1)], False
    if len(shapes) != 1 or len(shape) != 3:
        raise BadInput(
            f"The Keras model takes {str(shapes)[:80]} as input and an image classifier takes one image of"
            " height, width and channels: it is out of scope."
        )
    if shape[2] in (1, 3):
        return [(shape[0] or size or 224, shape[1] or size or 224, shape[2])], False
    if shape[0] in (1, 3):
        return [(shape[1] or size or 224, shape[2] or size or 224, shape[0])], True
    raise BadInput(
        f"The Keras model takes images of {shape[2]} channels, and grey or colour images are taken: it is out"
        " of scope."
    )


def of_a_row(count: int, size: int | None) -> list[tuple[int, int, int]]:
    """Returns the pictures that so many numbers may be: a square one, else one of the data set's height."""
    squares = [(math.isqrt(count // c), math.isqrt(count // c), c) for c in (1, 3)]
    of_size = [(size, count // c // size, c) for c in (1, 3)] if size else []
    return next(
        (
            fitting
            for shapes in (squares, of_size)
            if (fitting := [s for s in shapes if math.prod(s) == count and min(s[:2]) >= LEAST_SIDE])
        ),
        [],
    )


def taking(model: keras.Model, shape: tuple[int, int, int]) -> tuple[keras.Model, list[str]]:
    """Returns the model with a fixed input of `shape`, a reshape behind it where the model's is flat, and
    what to say of it. The layers are the same ones.
    """
    wanted = tuple(model.inputs[0].shape[1:])
    if wanted == shape:
        return model, []
    image = keras.Input(shape, name="image")
    flat = len(wanted) < 3
    x = layers.Reshape(wanted, name="flat_image")(image) if flat else image
    function = getattr(model, "_functional", None) or model
    made = keras.Model(image, function.call(x), name=model.name)
    if not flat:
        return made, []
    return made, [note_of_flat(wanted, shape)]


def note_of_flat(wanted: tuple[int, ...], shape: tuple[int, int, int]) -> str:
    """Returns what is said of a reshape of a picture of `shape` in front of an input of `wanted` numbers."""
    numbers = f"{wanted[0]:,} numbers in a row" if len(wanted) == 1 else f"{wanted[0]}x{wanted[1]} numbers"
    color = "grey" if shape[2] == 1 else "colour"
    return (
        f"The network takes {numbers}: a reshape of a {shape[1]}x{shape[0]} {color} image, row after row, was"
        " put in front of it."
    )


def giving_classes(model: keras.Model) -> tuple[keras.Model, list[str], list[str]]:
    """Returns the model with two outputs where it has one, evidence, and warnings; any other as it is.

    The logits of the two are half of the one's, with either sign, so that their softmax is 1 - p and p.
    """
    if len(model.outputs) != 1 or tuple(model.outputs[0].shape[1:]) != (1,):
        return model, [], []
    kind = activation_of(model)
    if kind not in (*LOGITS, *PROBABILITIES):
        return model, [], []
    made = _two(model)
    if kind in PROBABILITIES:
        return (
            made,
            [
                "The network has one output p, the probability of the second of two classes: it is opened as"
                " two classes, 1 - p and p."
            ],
            [],
        )
    return (
        made,
        [],
        [
            "The network has one output and no sigmoid behind it: it is taken as the logit of the second of"
            " two classes, and above 0 is that class. A network for regression is no classifier."
        ],
    )


def activation_of(model: keras.Model) -> str:
    """Returns the name of the activation that the model ends with, "linear" where there is none."""
    operation, _ = _last(model)
    if isinstance(operation, keras.Model):
        return activation_of(operation)
    if type(operation).__name__ in ("Softmax", "Sigmoid", "HardSigmoid", "Tanh"):
        return {"HardSigmoid": "hard_sigmoid"}.get(type(operation).__name__, type(operation).__name__.lower())
    return str(getattr(getattr(operation, "activation", None), "__name__", "linear"))


def _last(model: keras.Model) -> tuple[keras.Operation, list]:
    """Returns the operation that gives the model's output, and the tensors that it is called with."""
    history = model.outputs[0]._keras_history
    return history.operation, list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _two(model: keras.Model) -> keras.Model:
    operation, inputs = _last(model)
    if isinstance(operation, keras.Model):
        return keras.Model(model.inputs, _two(operation)(inputs), name=model.name)
    kind, x = activation_of(model), model.outputs[0]
    if isinstance(operation, layers.Activation) or type(operation).__name__ == "Sigmoid":
        x, operation = inputs[0], None
        before = x._keras_history.operation
        inner = keras.Model(model.inputs, x, name=model.name)
        if kind == "sigmoid" and isinstance(before, layers.Dense) and activation_of(inner) == "linear":
            operation, inputs = _last(inner)
    if isinstance(operation, layers.Dense) and kind in ("sigmoid", "linear"):
        kernel, *bias = operation.get_weights()
        return _closed(model, operation.name, inputs[0], kernel, bias)
    if kind == "hard_sigmoid":  # is no softmax of anything: 1 - p and p themselves
        return _with(model, "two_classes", model.outputs[0], [[-1.0, 1.0]], [1.0, 0.0], "linear")
    return _closed(model, "two_classes", x, np.ones((1, 1)), [])


def _closed(model: keras.Model, name: str, x, kernel: np.ndarray, bias: list[np.ndarray]) -> keras.Model:
    both = [np.concatenate([-a / 2, a / 2], axis=-1) for a in (kernel, *bias)]
    return _with(model, name, x, both[0], both[1] if bias else np.zeros(2), "softmax")


def _with(model: keras.Model, name: str, x, kernel, bias, activation: str) -> keras.Model:
    dense = layers.Dense(2, activation=activation, name=name, dtype="float32")
    made = keras.Model(model.inputs, dense(x), name=model.name)
    dense.set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32)])
    return made
