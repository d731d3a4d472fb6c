"""A layer over tokens that are folded into the first axis, as a vision transformer's are: its mean input is
that of its rows, or the bias correction moves each bias by as many times as there are tokens.
"""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.backends import backend_for
from engine.backends.onnx.graph import Graph
from engine.formats.onnx.face import face_of
from engine.formats.onnx.plain import plain
from engine.vocabulary import Preprocessing

SIDE, TOKENS, WIDTH = 16, 16, 4
HOW = Preprocessing(height=SIDE, width=SIDE, color="rgb", layout="NCHW", mean=[0.0], std=[1.0])
RANDOM = np.random.default_rng(0)
PATCHES, DENSE = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((WIDTH, 3, 4, 4), (5, WIDTH)))
IMAGES = RANDOM.integers(0, 256, (10, SIDE, SIDE, 3), np.uint8)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.dense = nn.Conv2d(3, WIDTH, 4, 4, bias=False), nn.Linear(WIDTH, 5)
        self.patches.weight.data, self.dense.weight.data = torch.tensor(PATCHES), torch.tensor(DENSE)
        self.dense.bias.data.zero_()

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2).reshape(-1, WIDTH)
        return self.dense(tokens).reshape(-1, TOKENS, 5).mean(1)


def as_graph() -> Graph:
    nodes = [
        helper.make_node("Conv", ["image", "patches"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Transpose", ["p"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "rows"], ["r"]),
        helper.make_node("Gemm", ["r", "dense", "bias"], ["g"], transB=1),
        helper.make_node("Reshape", ["g", "tokens"], ["s"]),
        helper.make_node("ReduceMean", ["s"], ["scores"], axes=[1], keepdims=0),
    ]
    values = {
        "patches": PATCHES,
        "dense": DENSE,
        "bias": np.zeros(5, np.float32),
        "rows": np.array([-1, WIDTH]),
        "tokens": np.array([-1, TOKENS, 5]),
    }
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return Graph(plain(model, face_of(model, None)))


@pytest.mark.parametrize("framework, network", [("pytorch", Tokens), ("onnx", as_graph)])
def test_the_mean_input_is_that_of_the_rows(framework, network, tmp_path):
    backend, made = backend_for(framework, HOW, tmp_path), network()
    name = next(name for name, weight in backend.weights(made).items() if weight.shape[0] == 5)
    # the scores are the mean over the tokens, so their mean is that of the layer's outputs
    wanted = backend.logits(made, IMAGES).mean(axis=0)
    found = backend.weights(made)[name] @ backend.input_means(made, IMAGES)[name] + backend.biases(made)[name]
    np.testing.assert_allclose(found, wanted, atol=1e-3)
