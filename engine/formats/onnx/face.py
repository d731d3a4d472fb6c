"""What an ONNX graph shows to the outside, its image input and its row of scores, and ONNX Runtime at work on
it.

Imports no torch: what only runs a graph needs none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from engine.errors import BadInput, shortened
from engine.formats.onnx.batch import shapes_at
from engine.formats.onnx.bounds import OPEN_SIDES
from engine.formats.onnx.check import ADVICE

ESTIMATE = "it can still be estimated with `python -m engine estimate FILE`"
KINDS = {
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.DOUBLE: np.float64,
}

SQUASHING = ("Softmax", "Sigmoid", "LogSoftmax")


@dataclass(frozen=True)
class Face:
    """What a graph shows to the outside: its image input and the output that holds the scores."""

    input: str
    output: str
    height: int
    width: int
    channels: int
    layout: str
    classes: int
    kind: int  # of the input's numbers, a TensorProto data type

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The input's shape without the batch, in its own layout."""
        if self.layout == "NHWC":
            return self.height, self.width, self.channels
        return self.channels, self.height, self.width


def face_of(model: onnx.ModelProto, size: int | None, classes: int | None = None) -> Face:
    """Finds the image input and the scores, those of so many classes where that is told. Raises BadInput
    naming what the network is instead.
    """
    faces = faces_of(model, size)
    return next((face for face in faces if face.classes == classes), faces[0])


def faces_of(model: onnx.ModelProto, size: int | None) -> list[Face]:
    """Returns a face for each output that may be the scores, the likeliest first.

    `size` is the side of an image in pixels where the file leaves it open. Raises BadInput as `face_of` does.
    """
    graph = model.graph
    known = {t.name for t in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != 1:
        raise BadInput(
            f"The ONNX network takes {len(inputs)} inputs and an image classifier takes one: {ESTIMATE}."
        )
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(shape) != 4:
        raise BadInput(
            f"The ONNX network takes an input of {len(shape)} dimensions, as for text, sound or tables, and"
            f" an image classifier takes four: {ESTIMATE}."
        )
    channels_last = shape[1] not in (0, 1, 3) and shape[3] in (1, 3)
    if not any(shape[1:]):
        channels_last = _is_turned_first(graph, inputs[0].name)
    channels = (shape[3] if channels_last else shape[1]) or _read_by_first(graph)
    height, width = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
    height, width = height or width or size or _open_side(model, inputs[0], channels_last), width or height
    width = width or height
    if channels not in (1, 3) or max(height, width) > 4096:
        raise BadInput(
            f"The ONNX network takes {shape[1:]} as input, which is no grey or colour image: {ESTIMATE}."
        )
    layout, kind = "NHWC" if channels_last else "NCHW", inputs[0].type.tensor_type.elem_type
    shown = Face(inputs[0].name, "", height, width, channels, layout, 0, kind)
    return [
        replace(shown, output=name, classes=classes) for name, classes in _scores(model, shown, shape[0] or 1)
    ]


def _open_side(model: onnx.ModelProto, image: onnx.ValueInfoProto, channels_last: bool) -> int:
    """Returns the first usual side of an image from which the scores' shape follows."""
    dims = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    for side in OPEN_SIDES:
        sizes = [dims[0] or 1, *(dim or side for dim in dims[1:])]
        axis = 3 if channels_last else 1
        sizes[axis] = dims[axis] or _read_by_first(model.graph) or 1
        if all(value.name in shapes_at(model, image.name, tuple(sizes)) for value in model.graph.output):
            return side
    return OPEN_SIDES[0]


def _is_turned_first(graph: onnx.GraphProto, image: str) -> bool:
    """Tells whether a graph whose sizes are all open puts channels first before anything else."""
    readers = [node for node in graph.node if image in node.input]
    turned = [
        a.ints for node in readers if node.op_type == "Transpose" for a in node.attribute if a.name == "perm"
    ]
    return bool(turned) and all(list(order) == [0, 3, 1, 2] for order in turned)


def _read_by_first(graph: onnx.GraphProto) -> int:
    """Returns how many channels the first convolution reads; 0 where there is none."""
    weights = {t.name: t.dims for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(weights.get(node.input[1], ())) == 4:
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            return int(weights[node.input[1]][1] * groups)
    return 0


def _scores(model: onnx.ModelProto, shown: Face, batch: int) -> list[tuple[str, int]]:
    """Returns the outputs that hold one row for an image, with its length, the likeliest scores first."""
    graph, shapes = model.graph, _output_shapes(model, shown, batch)
    rows = {
        name: math.prod(sizes) // batch
        for name, sizes in shapes.items()
        if (batch == 1 or sizes[:1] == [batch])
        and sizes
        and sum(size != 1 for size in (sizes[1:] if sizes[0] == batch else sizes)) <= 1
    }
    if not rows:
        kinds = {len(sizes) for sizes in shapes.values()}
        kind = (
            "a segmentation network or an image-to-image network"
            if 4 in kinds
            else "a detector or a network for series"
        )
        raise BadInput(
            f"The ONNX network gives no row of scores, as {kind}: it is no image classifier, and {ESTIMATE}."
        )
    before = {name: _read_for(graph, name) for name in rows}
    last = {node.output[0]: node for node in graph.node if node.output}
    same = {  # probabilities beside the logits that they are made of
        name
        for name in rows
        if name in last and last[name].op_type in SQUASHING and set(last[name].input) & set(rows)
    }
    used = {
        name
        for name in rows
        for other in rows
        if other not in same and name != other and name in before[other]
    }
    order = sorted(rows, key=lambda name: (name in same, name in used))
    return [
        (name, rows[name])
        for name in order
        if name not in same or rows[name] not in map(rows.get, set(rows) - same)
    ]


def _read_for(graph: onnx.GraphProto, output: str) -> set[str]:
    wanted = {output}
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted.update(node.input)
    return wanted


def _output_shapes(model: onnx.ModelProto, shown: Face, batch: int) -> dict[str, list[int]]:
    """Returns the outputs' shapes for a batch: inferred, or else seen on a black image."""
    names = [value.name for value in model.graph.output]
    shapes = shapes_at(model, shown.input, (batch, *shown.image_shape))
    if not all(name in shapes for name in names):
        black = np.zeros((batch, *shown.image_shape), KINDS.get(shown.kind, np.float32))
        try:
            seen = session_of(model).run(names, {shown.input: black})
        except BadInput:
            raise
        except Exception as error:  # ONNX Runtime's classes of errors share no root
            reason = (str(error).strip().splitlines() or [""])[0]
            raise BadInput(
                f"The ONNX network can't be run on an image of {shown.width}x{shown.height} "
                f"({shortened(reason, 120)}): {ADVICE}"
            ) from None
        shapes |= {name: list(value.shape) for name, value in zip(names, seen, strict=True)}
    return {name: shapes[name] for name in names}


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Opens a graph from bytes, so that no path in it is followed. Raises BadInput when ONNX Runtime refuses
    it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's classes of errors share no root
        reason = (str(error).strip().splitlines() or [""])[0]
        raise BadInput(f"ONNX Runtime refuses the model ({shortened(reason, 140)}): {ADVICE}") from None


def predictor(session: onnxruntime.InferenceSession, face: Face) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from images [n, …] in the graph's own layout to float32 scores [n, classes].

    A graph of a fixed batch gets its batches, the last one filled up; one that only says that its batch is
    free, and is not, gets single images.
    """
    first, kind = session.get_inputs()[0].shape[0], KINDS.get(face.kind, np.float32)

    def run(part: np.ndarray) -> np.ndarray:
        return session.run([face.output], {face.input: part})[0].reshape(len(part), -1)

    def predict(x: np.ndarray) -> np.ndarray:
        x = x.astype(kind)
        size = first if isinstance(first, int) else len(x)
        missing = -len(x) % size
        filled = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
        try:
            scores = [run(filled[i : i + size]) for i in range(0, len(filled), size)]
        except Exception:  # a reshape inside to a batch of one is found only when it runs
            if isinstance(first, int) or len(x) == 1:
                raise
            scores = [run(one) for one in x[:, None]]
        return np.concatenate(scores)[: len(x)].astype(np.float32)

    return predict
