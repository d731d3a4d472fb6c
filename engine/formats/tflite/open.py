"""A checked TFLite file opened: LiteRT gives its scores; a float one is tried as a Keras model as well."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.errors import BadInput, shortened
from engine.formats.opening import Opening
from engine.formats.tflite.graph import ADVICE, INT4, KINDS, WEIGHTED, Graph, Tensor, read
from engine.vocabulary import Preprocessing


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the one way to open a TFLite file. Raises BadInput when it takes no image or gives no row of
    scores.
    """
    graph = read(path)
    given, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    height, width, channels, layout = _image(graph, given)
    classes = _classes(graph, scores)
    facts = {
        "reach": "all",
        "warnings": [],
        "evidence": _note_of_flat(given, (height, width, channels)),
        "layers": sum(op.name in WEIGHTED for op in graph.operators),
        "parameters": sum(
            math.prod(t.shape) for t in graph.tensors if t.data is not None and t.kind in (0, 1, 3, 9, INT4)
        ),
        "outputs": (
            "probabilities"
            if any(
                op.name in ("SOFTMAX", "LOGISTIC") and graph.outputs[0] in op.outputs
                for op in graph.operators[-3:]
            )
            else "logits"
        ),
    }
    if graph.has("CUSTOM:edgetpu-custom-op"):
        facts |= {
            "reach": "inspect",
            "warnings": [
                "The TFLite file is compiled for the Edge TPU: it can be inspected only; upload the file "
                "that it was compiled from."
            ],
        }
    elif graph.quantized():
        facts |= {
            "reach": "inspect",
            "warnings": [
                "The TFLite file is already quantized: it can be inspected and estimated; upload the "
                "float model to compress it."
            ],
        }
    predict = _run(path, given, scores, layout, channels)
    if facts["reach"] == "all":
        from engine.formats.tflite.network import try_network  # imports Keras, which takes seconds

        network, why = try_network(graph, predict, (height, width, channels))
        if network is None:
            facts |= {
                "reach": "inspect",
                "warnings": [f"The TFLite file can be inspected and estimated only, because {why}."],
            }
        elif classes == 1:
            classes, predict, told = _two_classes(network, predict)
            told["evidence"] = facts["evidence"] + told.get("evidence", [])
            facts |= told
    color = "grey" if channels == 1 else "rgb"
    return [
        Opening(
            None,
            height,
            width,
            channels,
            classes,
            predict,
            layout=layout,
            facts=facts,
            fixed=_told(given, height, width, channels, color, layout),
        )
    ]


def _two_classes(network, predict: Callable) -> tuple[int, Callable[[np.ndarray], np.ndarray], dict]:
    """Returns how many classes a network of one output has, its scores, and what to say of it."""
    from engine.formats.keras.adapt import giving_classes

    both, evidence, warnings = giving_classes(network)
    if both is network:
        told = (
            "The network has one output that doesn't tell two classes apart: it can be inspected and"
            " estimated; end it with one output for each class, or with one sigmoid, to compress it."
        )
        return 1, predict, {"reach": "inspect", "warnings": [told]}
    facts = {"evidence": evidence, "warnings": warnings, "outputs": "probabilities"}
    return 2, lambda x: np.asarray(both(x.astype(np.float32), training=False)), facts


def scores_of(path: Path, graph: Graph) -> tuple[Callable, tuple[int, int, int]]:
    """Returns what LiteRT computes, as it is in the file, and the shape of its images."""
    given, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    height, width, channels, layout = _image(graph, given)
    return _run(path, given, scores, layout, channels), (height, width, channels)


def _image(graph: Graph, given: Tensor) -> tuple[int, int, int, str]:
    shape = given.shape
    if len(graph.inputs) == 1 and len(shape) == 2 and shape[0] == 1 and (row := _of_a_row(shape[1])):
        return row
    if len(graph.inputs) != 1 or len(shape) not in (3, 4) or shape[0] != 1:
        raise BadInput(
            f"The TFLite network takes {[list(graph.tensors[i].shape) for i in graph.inputs][:3]} as input"
            " and an image classifier takes one image: it can only be estimated."
        )
    if len(shape) == 3:
        return shape[1], shape[2], 1, "NHWC"
    if shape[3] in (1, 3):
        return shape[1], shape[2], shape[3], "NHWC"
    if shape[1] in (1, 3):
        return shape[2], shape[3], shape[1], "NCHW"
    raise BadInput(
        f"The TFLite network takes {list(shape)[1:]} as input, which is no grey or colour image: it can only"
        " be estimated."
    )


def _of_a_row(count: int) -> tuple[int, int, int, str] | None:
    """Returns the square picture that a row of so many numbers is, a pixel after the other as TFLite lays
    them; None where it is none.
    """
    from engine.formats.keras.adapt import of_a_row  # imports Keras, which takes seconds

    return next(((*shape, "NHWC") for shape in of_a_row(count, None)), None)


def _note_of_flat(given: Tensor, shape: tuple[int, int, int]) -> list[str]:
    if len(given.shape) > 3:
        return []
    from engine.formats.keras.adapt import note_of_flat

    return [note_of_flat(given.shape[1:], shape)]


def _classes(graph: Graph, scores: Tensor) -> int:
    if len(graph.outputs) != 1 or len(scores.shape) < 2 or math.prod(scores.shape[:-1]) != 1:
        raise BadInput(
            f"The TFLite network gives {[list(graph.tensors[i].shape) for i in graph.outputs][:4]} and no row"
            " of scores, as detectors and segmentation networks do: it is no image classifier and can only"
            " be estimated."
        )
    return scores.shape[-1]


def _told(
    given: Tensor, height: int, width: int, channels: int, color: str, layout: str
) -> Preprocessing | None:
    """Returns the scaling that a whole-number input tells: the range of real values that it can hold."""
    if given.kind not in (3, 9):
        return None
    low = ((0 if given.kind == 3 else -128) - given.zero) * given.scale
    if not given.scale or abs(given.scale - 1) < 0.02:
        scale, mean, std = 1.0, 0.0, 1.0
    elif abs(low) < 0.02 and abs(given.scale * 255 - 1) < 0.02:
        scale, mean, std = 1 / 255, 0.0, 1.0
    elif abs(low + 1) < 0.02 and abs(given.scale * 127.5 - 1) < 0.02:
        scale, mean, std = 1 / 255, 0.5, 0.5
    else:
        return None
    return Preprocessing(
        height=height,
        width=width,
        color=color,
        layout=layout,
        scale=scale,
        mean=[mean] * channels,
        std=[std] * channels,
    )


def _run(
    path: Path, given: Tensor, scores: Tensor, layout: str, channels: int
) -> Callable[[np.ndarray], np.ndarray]:
    ready = []

    def predict(x: np.ndarray) -> np.ndarray:
        if not ready:
            ready.append(_interpreter(path))
        runner, answers = ready[0], []
        kind = KINDS[given.kind]
        if given.kind in (3, 9):
            x = np.rint(x / (given.scale or 1.0) + given.zero).clip(np.iinfo(kind).min, np.iinfo(kind).max)
        for image in x.astype(kind):
            runner.set_tensor(runner.get_input_details()[0]["index"], image.reshape(given.shape))
            runner.invoke()
            answers.append(
                runner.get_tensor(runner.get_output_details()[0]["index"]).reshape(-1).astype(np.float32)
            )
        return (np.stack(answers) - scores.zero) * (scores.scale or 1.0)

    return predict


def _interpreter(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    try:
        runner = Interpreter(model_content=path.read_bytes(), num_threads=2)
        runner.allocate_tensors()
        return runner
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"LiteRT refuses the TFLite file ({shortened(str(error).strip().splitlines()[0], 120)}): {ADVICE}"
        ) from None
