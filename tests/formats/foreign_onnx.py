"""ONNX files of the shipped digits network as other exporters would have written it, with an operator that
onnx2torch lacks.
"""

import io
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.formats.torch import architectures
from engine.formats.torch import open as pytorch
from models.catalog import CATALOG


def digits(opset: int = 13) -> onnx.ModelProto:
    """The small digits network: `image` [n, 1, 28, 28] (scaled as its card says) to `scores` [n, 10]."""
    entry = CATALOG["digits/pytorch/small"]
    network = architectures.build(entry.architecture, pytorch.read_weights(entry.weights_path, "safetensors"))
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 1, 28, 28),),
            out,
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": {0: "n"}, "scores": {0: "n"}},
        )
    return onnx.load_from_string(out.getvalue())


def untraceable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Puts a pooling of single pixels by their absolute values, which leaves a ReLU's output as it is, behind
    the first ReLU.
    """
    nodes = model.graph.node
    place = next(i for i, node in enumerate(nodes) if node.op_type == "Relu")
    inner, outer = nodes[place].output[0] + "_inner", nodes[place].output[0]
    nodes[place].output[0] = inner
    nodes.insert(
        place + 1, helper.make_node("LpPool", [inner], [outer], kernel_shape=[1, 1], strides=[1, 1], p=1)
    )
    return model


def channels_last(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes images as [n, 28, 28, 1]."""
    model.graph.node.insert(0, helper.make_node("Transpose", ["photo"], ["image"], perm=[0, 3, 1, 2]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["n", 28, 28, 1]))
    return model


def one_at_a_time(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes and gives a batch of one, and flattens to one row inside, so that the batch can't be set free by
    its name alone.
    """
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 28, 28]), "one_image"))
    model.graph.node.insert(0, helper.make_node("Reshape", ["single", "one_image"], ["image"]))
    model.graph.input[0].name = "single"
    return model


def two_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives the first ReLU's pictures before the scores."""
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.insert(0, helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "c", "y", "x"]))
    return model


FORMS = {
    "an operator of its own": lambda: untraceable(digits()),
    "channels last": lambda: channels_last(untraceable(digits())),
    "opset 7": lambda: untraceable(digits(7)),
    "a batch of one": lambda: one_at_a_time(untraceable(digits())),
    "two outputs": lambda: two_outputs(untraceable(digits())),
}
