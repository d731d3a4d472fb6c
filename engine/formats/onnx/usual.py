"""An ONNX file in the usual form: float32 throughout, a float32 image, one score a class. What was changed
for that is said; its answers are the same.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.formats.onnx import check as onnx_format
from engine.formats.onnx.face import Face, face_of
from engine.vocabulary import ModelFile

REAL = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
NAMES: dict[int, str] = {
    TensorProto.FLOAT16: "half floats",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "doubles",
}
WHOLE = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64)
TYPED = ("to", "dtype")  # attributes that name a data type
SHAPING = ("Identity", "Squeeze", "Unsqueeze", "Flatten", "Reshape", "Cast")


def prepared(path: Path, model: ModelFile) -> tuple[onnx.ModelProto, Face]:
    """Returns a checked file's graph in the usual form, and its face as it was found out. Raises BadInput."""
    onnx_format.check(path)
    graph, _ = usual(onnx_format.parse(path))
    face = face_of(graph, model.input_shape[0], len(model.classes))
    face = replace(face, height=model.input_shape[0], width=model.input_shape[1])
    return as_two_classes(graph, face)[:2] if face.classes == 1 else (graph, face)


def usual(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Returns a copy in float32 with a float32 image, and what was changed, as sentences. A file that is
    so already is returned itself.
    """
    said: list[str] = []
    kinds = {tensor.data_type for tensor in onnx_format.tensors_of(model.graph)} & set(REAL)
    kinds |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} & set(
        REAL
    )
    whole = [
        value
        for value in model.graph.input
        if value.type.tensor_type.elem_type in WHOLE
        and value.name not in {t.name for t in model.graph.initializer}
    ]
    if not kinds and not whole:
        return model, said
    made = onnx.ModelProto()
    made.CopyFrom(model)
    if kinds:
        _as_float32(made.graph)
        said.append(
            f"The file's {' and '.join(sorted(NAMES[kind] for kind in kinds))} were made float32, which the"
            " techniques start from."
        )
    for value in [v for v in made.graph.input if v.name in {w.name for w in whole}]:
        _float_image(made.graph, value)
        said.append(
            "The file takes its image in whole numbers; here it takes the same numbers, 0 to 255, as float32."
        )
    return made, said


def _as_float32(graph: onnx.GraphProto) -> None:
    for tensor in onnx_format.tensors_of(graph):
        if tensor.data_type in REAL:
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
            )
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in TYPED and attribute.i in REAL:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in REAL:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]


def _float_image(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    """Makes the image float32; what works on whole numbers gets them all the same."""
    kind, name = value.type.tensor_type.elem_type, value.name
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    if not _only_cast(graph, name):
        whole = f"{name}_whole"
        for node in graph.node:
            for place, given in enumerate(node.input):
                if given == name:
                    node.input[place] = whole
        graph.node.insert(0, helper.make_node("Cast", [name], [whole], to=kind, name=whole))
    del graph.value_info[:]


def _only_cast(graph: onnx.GraphProto, name: str) -> bool:
    readers = [node for node in graph.node if name in node.input]
    return bool(readers) and all(
        node.op_type == "Cast" or (node.op_type == "Transpose" and _only_cast(graph, node.output[0]))
        for node in readers
    )


def as_two_classes(model: onnx.ModelProto, face: Face) -> tuple[onnx.ModelProto, Face, str]:
    """Returns a copy whose one score z is two, -z/2 and z/2, of which softmax makes what the sigmoid of z
    says, its face, and the sentence that says so.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    producers = {node.output[0]: node for node in graph.node}
    node = producers.get(face.output)
    while node is not None and node.op_type in SHAPING:
        node = producers.get(node.input[0])
    squashed = False
    if node is not None and node.op_type == "Sigmoid":
        squashed, node.op_type = True, "Identity"
    name = f"{face.output}_of_two"
    for suffix, array in (("column", np.array([-1, 1])), ("weight", np.array([[-0.5, 0.5]], np.float32))):
        graph.initializer.append(numpy_helper.from_array(array, f"{name}_{suffix}"))
    graph.node.append(
        helper.make_node("Reshape", [face.output, f"{name}_column"], [f"{name}_row"], name=f"{name}_row")
    )
    graph.node.append(helper.make_node("Gemm", [f"{name}_row", f"{name}_weight"], [name], name=name))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    sentence = (
        "The network has one output, taken as a yes or no of two classes: the second is meant where it is"
        f" above {'one half, its sigmoid left out' if squashed else 'zero'}."
    )
    return made, replace(face, output=name, classes=2), sentence
