"""ONNX and TFLite: opened as networks that give the runtime's own scores."""

import numpy as np
import pytest
import torch

from engine.errors import BadInput
from tests.hostile import goods


def save(tmp_path, model):
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


def test_onnx_becomes_a_network(tmp_path, look):
    from engine.formats import open_network

    model = look(save(tmp_path, goods.onnx_model()))
    assert (model.format, model.framework, model.reach, model.parameters) == ("onnx", "pytorch", "all", 154)
    assert open_network(model)(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_onnx_with_channels_last_is_turned(tmp_path, look):
    from onnx import helper

    from engine.formats import open_network

    made = goods.onnx_model()
    made.graph.node.insert(0, helper.make_node("Transpose", ["photo"], ["image"], perm=[0, 3, 1, 2]))
    made.graph.input[0].name = "photo"
    for place, size in ((1, 28), (3, 1)):
        made.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    model = look(save(tmp_path, made))
    assert (model.input_shape, model.preprocessing.layout, model.reach) == ((28, 28, 1), "NCHW", "all")
    assert open_network(model)(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_onnx_with_a_fixed_batch_and_a_second_output(tmp_path, look):
    from onnx import TensorProto, helper

    from engine.formats import open_network

    made = goods.onnx_model()
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    made.graph.output.insert(0, helper.make_tensor_value_info("r", TensorProto.FLOAT, [1, 4, 24, 24]))
    model = look(save(tmp_path, made))
    assert model.reach == "all" and len(model.classes) == 10
    assert open_network(model)(torch.rand(5, 1, 28, 28)).shape == (5, 10)


@pytest.mark.parametrize(
    "shape, says", [(["n", 28], "text, sound or tables"), (["n", 5, 28, 28], "no grey or colour image")]
)
def test_onnx_that_takes_no_image_is_named(tmp_path, look, shape, says):
    from onnx import TensorProto, helper

    made = goods.onnx_model()
    del made.graph.node[:]
    made.graph.node.append(helper.make_node("Relu", ["image"], ["scores"]))
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape))
    with pytest.raises(BadInput, match=says):
        look(save(tmp_path, made))


def test_onnx_that_segments_is_named(tmp_path, look):
    from onnx import TensorProto, helper

    made = goods.onnx_model()
    del made.graph.node[2:]
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("r", TensorProto.FLOAT, ["n", 4, 24, 24]))
    with pytest.raises(BadInput, match="segmentation"):
        look(save(tmp_path, made))


def test_tflite_is_read_without_a_runtime(tmp_path):
    from engine.formats.tflite.graph import read

    (tmp_path / "m").write_bytes(goods.tflite())
    graph = read(tmp_path / "m")
    assert [op.name for op in graph.operators] == ["FULLY_CONNECTED"] and not graph.quantized()
    assert graph.tensors[1].array().shape == (10, 784)


@pytest.mark.slow
def test_tflite_becomes_a_keras_model(tmp_path, look):
    from engine.formats import open_network

    (tmp_path / "m.tflite").write_bytes(goods.tflite())
    model = look(tmp_path / "m.tflite")
    assert (model.framework, model.reach, model.layers) == ("keras", "all", 1)
    assert np.asarray(open_network(model)(np.zeros((2, 28, 28, 1), np.float32))).shape == (2, 10)


def test_onnx_of_other_exporters_is_put_into_layers(tmp_path, look):
    """A bias added after the convolution, "auto_pad", a reshape to a batch of one, MatMul and Add, a folded
    weight.
    """
    from onnx import TensorProto, helper, numpy_helper

    from engine.formats import open_network

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(value, name)
        for name, value in (
            ("w1", rng.normal(size=(4, 1, 5, 5)).astype(np.float32)),
            ("b1", rng.normal(size=(4, 1, 1)).astype(np.float32)),
            ("w2", rng.normal(size=(4, 14, 14, 10)).astype(np.float32)),
            ("b2", rng.normal(size=(1, 10)).astype(np.float32)),
            ("flat", np.array([1, 784])),
            ("matrix", np.array([784, 10])),
        )
    ]
    nodes = [
        helper.make_node(
            "Conv", ["image", "w1"], ["c"], auto_pad="SAME_UPPER", kernel_shape=[5, 5], strides=[2, 2]
        ),
        helper.make_node("Add", ["c", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Reshape", ["r", "flat"], ["f"]),
        helper.make_node("Reshape", ["w2", "matrix"], ["m"]),
        helper.make_node("MatMul", ["f", "m"], ["d"]),
        helper.make_node("Add", ["d", "b2"], ["scores"]),
    ]
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 8)],
        ir_version=6,
    )
    model = look(save(tmp_path, made))
    network = open_network(model)
    kinds = [type(module).__name__ for module in network.modules()]
    assert model.reach == "all" and kinds.count("Conv2d") == 1 and kinds.count("Linear") == 1
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 10)
