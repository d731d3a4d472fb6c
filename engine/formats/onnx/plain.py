"""An ONNX graph in a plain form, its scores unchanged, for techniques that work on the graph itself.

One input `input` of fixed height and width, one output `logits` and nothing that does not lead to it, a free
batch where
the graph allows one, opset 13 where ONNX's converter gets it there (8-bit weights per channel need that), and
names of our
own for what holds weights: those in the file are a stranger's. Each form is proved equal to the file on
random images.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto

from engine.errors import BadInput
from engine.formats.onnx.face import Face, predictor, session_of
from engine.formats.onnx.opset import opset_of, raised
from engine.formats.onnx.tidy import bare, tidy

OPSET = 13
WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose")


def plain(model: onnx.ModelProto, face: Face) -> onnx.ModelProto:
    """Returns the plainest form that gives the file's own scores. Raises BadInput when none does."""
    images = np.random.default_rng(0).random((3, *face.image_shape), np.float32)
    expected = predictor(session_of(model), face)(images)
    for form, batch in _forms(model, face):
        _show(form, face, batch)
        if _same(form, replace(face, input="input", output="logits"), images, expected):
            _name_weights(form.graph)
            return form
    raise BadInput(
        "The ONNX graph gives other scores once its spare outputs are left out: export it with the scores"
        " alone."
    )


def _forms(model: onnx.ModelProto, face: Face) -> Iterator[tuple[onnx.ModelProto, int | None]]:
    """Yields a raised, tidied form with a free batch first, the file as it is last, each with its batch (None
    is free).
    """
    opset = opset_of(model)
    fixed = (
        next(v for v in model.graph.input if v.name == face.input).type.tensor_type.shape.dim[0].dim_value
        or None
    )
    for change in (lambda m: tidy(m, face), lambda m: bare(m, face.output)):
        for target in dict.fromkeys((max(opset, OPSET), opset)):
            form = change(model)
            form = form if target == opset else raised(form, target)
            if form is None:
                continue
            for batch in dict.fromkeys((None, fixed)):
                copied = onnx.ModelProto()
                copied.CopyFrom(form)
                yield copied, batch


def _show(model: onnx.ModelProto, face: Face, batch: int | None) -> None:
    """Names input and output, and states the image's size and the batch."""
    graph = model.graph
    for old, new in ((face.input, "input"), (face.output, "logits")):
        if old != new:
            _rename(graph, new, f"{new}_inside")  # a name of ours that the file has given to something else
            _rename(graph, old, new)
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch or "batch", *face.image_shape])
    )
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
    shapes = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
    known = [d.dim_value for d in shapes[1:]]
    rank = len(known) if known and all(known) else 1
    graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, [batch or "batch", face.classes, *(1,) * (rank - 1)]
        )
    )


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new


def _same(form: onnx.ModelProto, face: Face, images: np.ndarray, expected: np.ndarray) -> bool:
    try:
        onnx.checker.check_model(form)
        session = session_of(form)
        if (
            session.get_inputs()[0].shape[0] == "batch"
        ):  # really free: several at once, without the way out of `predictor`
            given = session.run(["logits"], {"input": images})[0].reshape(len(images), -1)
        else:
            given = predictor(session, face)(images)
    except Exception:  # ONNX Runtime's and the checker's many classes: this form is none that runs
        return False
    return given.shape == expected.shape and np.allclose(
        given, expected, rtol=1e-3, atol=1e-4 * (1 + np.abs(expected).max())
    )


def _name_weights(graph: onnx.GraphProto) -> None:
    """Names every stored tensor and every node: layers by their kind and place, the rest by place alone."""
    users = {name: node for node in reversed(graph.node) for name in node.input}
    taken: set[str] = {value.name for value in (*graph.input, *graph.output)} | {
        name for node in graph.node for name in node.output
    }
    new = {}
    for number, node in enumerate(graph.node):
        node.name = f"{re.sub(r'[^a-z0-9]', '', node.op_type.lower())}_{number}"
    for number, tensor in enumerate(graph.initializer):
        node = users.get(tensor.name)
        place = list(node.input).index(tensor.name) if node is not None else 0
        name = (
            f"{node.name}.{'weight' if place == 1 else 'bias'}"
            if node is not None and node.op_type in WEIGHTED and place
            else f"constant_{number}"
        )
        while name in taken:
            name += "_"
        taken.add(name)
        new[tensor.name] = name
        tensor.name = name
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = new.get(name, name)
