"""INT8 calibration of graphs whose batch is fixed, and of those whose batch is free."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.backends.onnx.format import ONNX
from engine.backends.onnx.graph import Graph
from engine.backends.onnx.quantize import FEWEST_HELD, held_at_once
from engine.backends.protocol import QuantSpec
from engine.device.model import open_model

RANDOM = np.random.default_rng(0)
SIDE, CLASSES, OUTLIER = 4, 3, 40.0


def graph(batch: int | None) -> Graph:
    """Returns a dense layer over images of 4x4x1, for batches of this size or any."""
    weight = RANDOM.normal(size=(CLASSES, SIDE * SIDE)).astype(np.float32)
    made = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Gemm", ["flat", "dense.weight", "dense.bias"], ["scores"], transB=1),
        ],
        "dense",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch or "n", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch or "n", CLASSES])],
        [
            numpy_helper.from_array(weight, "dense.weight"),
            numpy_helper.from_array(np.zeros(CLASSES, np.float32), "dense.bias"),
        ],
    )
    return Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def input_range(path) -> float:
    """Returns how wide the range of the quantized input is."""
    model = onnx.load(str(path))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    return 255 * float(stored[first.input[1]])


@pytest.mark.parametrize(
    ("images", "batch"), [(20, 64), (20, 8), (64, 64), (65, 64), (50, None), (37, None), (1, None)]
)
@pytest.mark.parametrize("last", [True, False])
def test_every_image_sets_the_ranges_however_many_make_a_batch(tmp_path, images, batch, last):
    inputs = RANDOM.uniform(0, 1, (images, 1, SIDE, SIDE)).astype(np.float32)
    inputs[-1 if last else 0, 0, 0, 0] = OUTLIER  # only this image is so bright
    target = tmp_path / "model.onnx"
    ONNX().quantize(graph(batch), QuantSpec("static_int8"), inputs, target, 1)
    assert input_range(target) == pytest.approx(OUTLIER, rel=0.01)
    assert open_model(target).predict(inputs).shape == (images, CLASSES)


def test_calibration_holds_as_many_images_as_fit_in_memory():
    """MobileNetV2 at 224 needed more than a child is given: 27 MB of activations an image, all held twice."""
    small = onnx.shape_inference.infer_shapes(graph(None).model)
    assert held_at_once(small) > 1_000_000
    wide = onnx.ModelProto()
    wide.CopyFrom(small)
    wide.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 96, 112, 112]))
    assert FEWEST_HELD < held_at_once(wide) < 100
    wide.graph.value_info.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 999, 224, 224]))
    assert held_at_once(wide) == FEWEST_HELD
