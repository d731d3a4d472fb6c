"""What ONNX files show to the outside: kinds of numbers, open sizes, several outputs, none with a shape,
one yes or no.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.backends import open_backend
from engine.datasets import load
from engine.formats.onnx.face import face_of, faces_of, predictor, session_of
from engine.formats.onnx.usual import as_two_classes, usual
from models.catalog import CATALOG
from tests.formats import foreign_onnx
from tests.formats.test_onnx_only import saved


def renamed_input(model: onnx.ModelProto, kind: int, shape: list) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(model.graph.input[0].name, kind, shape))


def halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """Half floats throughout, image and scores included."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    return model


def bytes_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes bytes, channels last, and scales them inside."""
    nodes = [
        helper.make_node("Transpose", ["photo"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["real", "most"], ["part"]),
        helper.make_node("Sub", ["part", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["image"]),
    ]
    spec = CATALOG["digits/pytorch/small"].preprocessing
    for name in ("mean", "std"):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(spec[name][0]), name))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / spec["scale"]), "most"))
    model.graph.input[0].name = "photo"
    renamed_input(model, TensorProto.UINT8, ["n", 28, 28, 1])
    return model


def all_open(model: onnx.ModelProto) -> onnx.ModelProto:
    renamed_input(model, TensorProto.FLOAT, ["n", "c", "h", "w"])
    return model


def no_shape(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def features_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives the row that the last layer reads before the scores."""
    row = model.graph.node[-1].input[0]
    model.graph.output.insert(0, helper.make_tensor_value_info(row, TensorProto.FLOAT, None))
    return no_shape(model)


def probabilities_first(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node.append(helper.make_node("Softmax", ["scores"], ["shares"], axis=1))
    model.graph.output.insert(0, helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["n", 10]))
    return model


FACES = {
    "half floats": (halves, "half floats were made float32"),
    "bytes, channels last": (bytes_last, "whole numbers"),
    "every size open": (all_open, ""),
    "scores without a shape": (no_shape, ""),
    "features before the scores": (features_first, "the row of 10"),
    "probabilities before the scores": (probabilities_first, "the row of 10"),
}


@pytest.mark.parametrize("name", FACES)
def test_each_face_opens_with_the_file_s_own_accuracy(name, tmp_path, look, home):
    change, says = FACES[name]
    plain = look(saved(tmp_path, foreign_onnx.digits()), "digits")
    (tmp_path / "other").mkdir()
    model = look(saved(tmp_path / "other", change(foreign_onnx.digits())), "digits")
    assert model.reach == "all" and model.input_shape == (28, 28, 1) and len(model.classes) == 10
    assert says in " ".join(model.evidence) and model.outputs == "logits"
    images = load("digits", home, ("validation",))["validation"].images
    answers = [
        backend.logits(backend.load(file), images).argmax(1)
        for file in (plain, model)
        for backend in [open_backend(file, tmp_path / file.sha256, 1)]
    ]
    assert (answers[0] == answers[1]).mean() >= 0.995


def test_one_output_is_two_classes():
    model = foreign_onnx.digits()
    last = model.graph.node[-1]
    for tensor in model.graph.initializer:
        if tensor.name in last.input[1:]:
            row = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(row[:1] * 10, tensor.name))
    model.graph.node.append(helper.make_node("Sigmoid", ["scores"], ["yes"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("yes", TensorProto.FLOAT, ["n", 1]))
    face = face_of(model, None)
    two, its_face, sentence = as_two_classes(model, face)
    assert (face.classes, its_face.classes) == (1, 2) and "one half" in sentence
    images = np.random.default_rng(0).random((20, 1, 28, 28), np.float32)
    yes = predictor(session_of(model), face)(images)[:, 0]
    scores = predictor(session_of(two), its_face)(images)
    np.testing.assert_allclose(1 / (1 + np.exp(scores[:, 0] - scores[:, 1])), yes, atol=1e-4)


def test_whole_numbers_that_are_worked_on_stay_whole():
    """Bytes that wrap around are not the same as real numbers."""
    nodes = [
        helper.make_node("Add", ["photo", "much"], ["wrapped"]),
        helper.make_node("Cast", ["wrapped"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["real"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("photo", TensorProto.UINT8, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([200], np.uint8), "much")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    real, said = usual(model)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8)).astype(np.float32)
    before, after = (predictor(session_of(m), faces_of(m, None)[0])(images) for m in (model, real))
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert said and real.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_a_usual_file_is_left_as_it_is():
    model = foreign_onnx.digits()
    assert usual(model) == (model, []) and usual(model)[0] is model
