"""What an ONNX graph shows to the outside, its image input and its row of scores, and ONNX Runtime at work on
it.

Imports no torch: what only runs a graph needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from engine.errors import BadInput
from engine.formats.onnx.check import ADVICE

ESTIMATE = "it can still be estimated with `python -m engine estimate FILE`"
KINDS = {
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.DOUBLE: np.float64,
}


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


def face_of(graph: onnx.GraphProto, size: int | None) -> Face:
    """Finds the image input and the scores. Raises BadInput naming what the network is instead."""
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
    channels_last = shape[1] not in (1, 3) and shape[3] in (1, 3)
    channels = shape[3] if channels_last else shape[1]
    height, width = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
    height, width = height or size or 224, width or size or 224
    if channels not in (1, 3) or max(height, width) > 4096:
        raise BadInput(
            f"The ONNX network takes {shape[1:]} as input, which is no grey or colour image: {ESTIMATE}."
        )
    output, classes = _scores(graph)
    return Face(
        inputs[0].name,
        output,
        height,
        width,
        channels,
        "NHWC" if channels_last else "NCHW",
        classes,
        inputs[0].type.tensor_type.elem_type,
    )


def _scores(graph: onnx.GraphProto) -> tuple[str, int]:
    shapes = {}
    for value in graph.output:
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        shapes[value.name] = sizes
        if len(sizes) >= 2 and sizes[1] and all(size == 1 for size in sizes[2:]):
            return value.name, sizes[1]
    if len(shapes) == 1 and len(next(iter(shapes.values()))) in (0, 2):  # the exporter left the size open
        name = next(iter(shapes))
        return name, _last_width(graph)
    kinds = {len(sizes) for sizes in shapes.values()}
    kind = (
        "a segmentation network or an image-to-image network"
        if 4 in kinds
        else "a detector or a network for series"
    )
    raise BadInput(
        f"The ONNX network gives no row of scores, as {kind}: it is no image classifier, and {ESTIMATE}."
    )


def _last_width(graph: onnx.GraphProto) -> int:
    tensors = {t.name: t for t in graph.initializer}
    for node in reversed(graph.node):
        if node.op_type in ("Gemm", "MatMul", "Conv"):
            weight = next(
                (tensors[name] for name in node.input if name in tensors and len(tensors[name].dims) > 1),
                None,
            )
            if weight is not None:
                turned = node.op_type == "MatMul" or (
                    not any(a.name == "transB" and a.i for a in node.attribute) and node.op_type == "Gemm"
                )
                return int(weight.dims[-1] if turned else weight.dims[0])
    raise BadInput(f"The ONNX network gives no row of scores: it is no image classifier, and {ESTIMATE}.")


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
        raise BadInput(f"ONNX Runtime refuses the model ({reason[:140]}): {ADVICE}") from None


def predictor(session: onnxruntime.InferenceSession, face: Face) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from images [n, …] in the graph's own layout to float32 scores [n, classes].

    A graph of a fixed batch gets its batches, the last one filled up; one that only says that its batch is
    free, and is
    not, gets single images.
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
