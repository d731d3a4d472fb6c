"""Profiles of small graphs, every figure worked out by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from estimator.profile.graph import ProfileError, profile, profile_onnx
from estimator.profile.plain_graph import Graph, Operator, Tensor, peak_activation_bytes


def save(path, nodes, initializers, input_shape=("n", 3, 8, 8), opset=17, output="y"):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def weights(name, shape, dtype=np.float32, zeros=0):
    array = np.ones(shape, dtype)
    array.reshape(-1)[:zeros] = 0
    return numpy_helper.from_array(array, name)


def test_convolution_counts_by_hand(tmp_path):
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]
        )
    ]
    found = profile_onnx(
        save(tmp_path / "m.onnx", nodes, [weights("w", (4, 3, 3, 3), zeros=5), weights("b", (4,))])
    )
    (layer,) = found.layers
    assert layer.kind == "conv" and layer.kernel == (3, 3) and layer.stride == (2, 2)
    assert layer.macs == 4 * 4 * 4 * 3 * 3 * 3
    assert found.parameters == 4 * 3 * 9 + 4 and found.nonzero_parameters == found.parameters - 5
    assert found.weight_bytes == 4 * found.parameters
    assert (layer.input_elements, layer.output_elements) == (3 * 64, 4 * 16)
    assert found.peak_activation_bytes == 4 * (3 * 64 + 4 * 16)
    assert found.input_shape == (1, 3, 8, 8) and found.output_shape == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("groups", "out", "kind"), [(3, 3, "depthwise"), (3, 6, "depthwise"), (1, 6, "conv")]
)
def test_groups_tell_the_kind_and_divide_the_macs(tmp_path, groups, out, kind):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], group=groups, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    ]
    found = profile_onnx(save(tmp_path / "m.onnx", nodes, [weights("w", (out, 3 // groups, 3, 3))]))
    assert found.layers[0].kind == kind
    assert found.macs == 64 * out * 9 * 3 // groups


def test_residual_keeps_the_shortcut_alive(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["a", "v"], ["b"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["b", "u"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Add", ["c", "a"], ["y"]),
    ]
    found = profile_onnx(
        save(
            tmp_path / "m.onnx",
            nodes,
            [weights("w", (4, 3, 1, 1)), weights("v", (8, 4, 1, 1)), weights("u", (4, 8, 1, 1))],
        )
    )
    # While the third convolution runs, a (4), b (8) and c (4 channels) are alive, 64 pixels of 4 bytes each.
    assert found.peak_activation_bytes == 4 * 64 * (4 + 8 + 4)


def test_reshape_shares_memory_with_its_input():
    tensors = {n: Tensor(n, (100,), "float32", 32) for n in ("x", "a", "y")}
    operators = [Operator("r", "Reshape", ("x",), ("a",)), Operator("f", "Relu", ("a",), ("y",))]
    graph = Graph(operators, tensors, ("x",), ("y",))
    assert peak_activation_bytes(graph, operators, frozenset({"Reshape"})) == 800


def test_quantize_dequantize_pairs_fold_into_an_int8_layer(tmp_path):
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"]),
    ]
    found = profile_onnx(
        save(tmp_path / "m.onnx", nodes, [scale, zero, weights("w", (4, 3, 1, 1), np.int8, 2)])
    )
    convolution = found.layers[-1]
    assert [layer.op for layer in found.layers] == ["QuantizeLinear", "Conv"]
    assert (convolution.precision, convolution.activation_precision, found.precision) == (
        "int8",
        "int8",
        "int8",
    )
    assert (found.parameters, found.nonzero_parameters, found.weight_bytes) == (12, 10, 12)


def test_int4_weights_pack_two_a_byte_and_compute_in_float(tmp_path):
    packed = helper.make_tensor("w", TensorProto.INT4, (4, 3, 1, 1), [1, -1, 0] * 4)
    scale = numpy_helper.from_array(np.float32(0.1), "s")
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"]),
        helper.make_node("Conv", ["x", "wd"], ["y"], kernel_shape=[1, 1]),
    ]
    found = profile_onnx(save(tmp_path / "m.onnx", nodes, [packed, scale], opset=21))
    assert (found.parameters, found.weight_bytes, found.nonzero_parameters) == (12, 6, 8)
    assert (found.layers[0].precision, found.layers[0].activation_precision) == ("int4", "float32")


def test_half_precision_weights_behind_a_cast(tmp_path):
    nodes = [
        helper.make_node("Cast", ["w"], ["wf"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "wf"], ["y"], kernel_shape=[1, 1]),
    ]
    found = profile_onnx(save(tmp_path / "m.onnx", nodes, [weights("w", (4, 3, 1, 1), np.float16)]))
    assert (found.weight_bytes, found.layers[0].precision, found.precision) == (24, "float16", "float32")


def test_sparse_initializer_counts_the_dense_tensor_and_its_nonzeros(tmp_path):
    values = numpy_helper.from_array(np.ones(3, np.float32), "w")
    indices = numpy_helper.from_array(np.array([0, 4, 8], np.int64), "i")
    sparse = helper.make_sparse_tensor(values, indices, [4, 3, 1, 1])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
        sparse_initializer=[sparse],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    found = profile_onnx(tmp_path / "m.onnx")
    assert (found.parameters, found.nonzero_parameters) == (12, 3)


@pytest.mark.parametrize("opset", [7, 13, 17, 23])
def test_dense_layers_in_every_opset(tmp_path, opset):
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    found = profile_onnx(
        save(tmp_path / "m.onnx", nodes, [weights("w", (10, 192)), weights("b", (10,))], opset=opset)
    )
    assert (found.macs, found.parameters, found.layers[-1].kind) == (1920, 1930, "dense")


def test_product_of_activations_is_attention(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    found = profile_onnx(save(tmp_path / "m.onnx", nodes, []))
    assert found.layers[0].kind == "attention" and found.macs == 3 * 8 * 8 * 8
    assert found.layers[0].input_elements == 192, "one tensor read twice is read once"


def test_shared_weights_count_once(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Conv", ["a", "w"], ["y"], kernel_shape=[1, 1]),
    ]
    found = profile_onnx(save(tmp_path / "m.onnx", nodes, [weights("w", (3, 3, 1, 1))]))
    assert found.parameters == 9 and found.macs == 2 * 9 * 64


def test_dynamic_quantization_computes_in_int8(tmp_path):
    zero = numpy_helper.from_array(np.uint8(0), "z")
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "zp"]),
        helper.make_node("ConvInteger", ["q", "w", "zp", "z"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    found = profile_onnx(save(tmp_path / "m.onnx", nodes, [weights("w", (4, 3, 1, 1), np.uint8), zero]))
    assert (found.precision, found.parameters, found.macs) == ("int8", 12, 768)


def test_a_fixed_batch_is_divided_out(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])]
    found = profile_onnx(
        save(tmp_path / "m.onnx", nodes, [weights("w", (4, 3, 1, 1))], input_shape=(8, 3, 8, 8))
    )
    assert found.macs == 768 and found.parameters == 12 and found.peak_activation_bytes == 4 * 7 * 64


def test_what_is_no_model_says_so(tmp_path):
    (tmp_path / "m").write_bytes(b"not a model at all")
    with pytest.raises(ProfileError, match="neither ONNX nor TFLite"):
        profile(tmp_path / "m")
    (tmp_path / "t").write_bytes(b"\x00\x00\x00\x00TFL3" + b"\xff" * 40)
    with pytest.raises(ProfileError, match="damaged"):
        profile(tmp_path / "t")


def test_an_open_image_size_says_so(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])]
    with pytest.raises(ProfileError, match="no fixed size"):
        profile(
            save(tmp_path / "m.onnx", nodes, [weights("w", (4, 3, 1, 1))], input_shape=("n", 3, "h", "w"))
        )
