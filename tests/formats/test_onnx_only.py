"""ONNX that PyTorch can't follow: opened with the reason said, and every post-training technique works on the
graph.
"""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.backends import open_backend
from engine.backends.grid import nearest_grid
from engine.backends.onnx.graph import Graph, folded
from engine.backends.onnx.quantize import quantize
from engine.backends.protocol import QuantSpec
from engine.datasets import load
from engine.device.preprocessing import preprocess
from engine.errors import BadInput, EdgewiseError
from engine.formats.onnx.face import face_of, predictor, session_of
from engine.formats.onnx.opset import opset_of
from engine.formats.onnx.plain import plain
from tests.conftest import ROOT
from tests.formats import foreign_onnx
from tests.hostile import goods


def saved(tmp_path, model) -> object:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


@pytest.fixture(params=foreign_onnx.FORMS)
def form(request, tmp_path, look):
    """One of the forms, as (its file, what was found out about it on the digits)."""
    path = saved(tmp_path, foreign_onnx.FORMS[request.param]())
    return path, look(path, "digits")


def test_reach_and_reason_are_said(form):
    _, model = form
    assert model.reach == "post_training" and len(model.classes) == 10 and model.input_shape == (28, 28, 1)
    assert model.warnings[0].startswith(
        "Only post-training techniques apply, because onnx2torch has no LpPool"
    )
    assert any("9" in sentence and "validation images" in sentence for sentence in model.evidence)


def test_the_graph_itself_is_worked_on(form, tmp_path, home):
    _, model = form
    backend = open_backend(model, tmp_path, 1)
    network, images = backend.load(model), load("digits", home, ("validation",))["validation"].images
    facts = backend.facts(network)
    assert (
        next(layer.kind for layer in facts.layers) == "conv"
        and facts.layers[-1].is_output
        and facts.macs == backend.cost(network)[0]
    )
    assert "LpPool" in facts.unprunable and "LpPool" in facts.untraceable
    scores = backend.logits(network, images)
    for kind, least in (("static_int8", 0.97), ("dynamic_int8", 0.97), ("fp16", 0.999), ("weights", 0.95)):
        grids = {
            name: nearest_grid(weight, 4) for name, weight in backend.weights(backend.folded(network)).items()
        }
        path = backend.export(
            network, QuantSpec(kind, grids=grids if kind == "weights" else {}), images[:64], tmp_path / kind
        )
        assert (backend.predict(path, images).argmax(1) == scores.argmax(1)).mean() >= least, kind
    with pytest.raises(EdgewiseError, match="LpPool"):
        backend.slim(network, 0.5, 0)


def test_weights_and_biases_are_put_in_and_kept(form, tmp_path, home):
    _, model = form
    backend = open_backend(model, tmp_path, 1)
    network, images = backend.load(model), load("digits", home, ("validation",))["validation"].images[:20]
    weights, biases = backend.weights(network), backend.biases(network)
    last = list(weights)[-1]
    changed = backend.with_weights(
        network, {last: np.zeros_like(weights[last])}, {last: np.arange(10, dtype=np.float32)}
    )
    np.testing.assert_allclose(backend.logits(changed, images), np.tile(np.arange(10), (20, 1)), atol=1e-5)
    np.testing.assert_array_equal(backend.weights(network)[last], weights[last])
    backend.save(changed, tmp_path, "kept")
    np.testing.assert_allclose(
        backend.logits(backend.restore(model, tmp_path, "kept"), images),
        backend.logits(changed, images),
        atol=1e-4,
    )
    assert biases[last].shape == (10,)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def made(nodes, weights: dict, shape, scores, opset: int = 13) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def convolutional(**options) -> onnx.ModelProto:
    """A strided, dilated, padded convolution, BatchNorm, a matrix product over its places, and a dense layer
    of [in, out].
    """
    nodes = [
        helper.make_node(
            "Conv", ["image", "k"], ["c"], pads=[2, 1, 0, 3], strides=[2, 1], dilations=[1, 2], **options
        ),
        helper.make_node(
            "BatchNormalization", ["c", "gamma", "beta", "mean", "variance"], ["n"], epsilon=1e-3
        ),
        helper.make_node("Flatten", ["n"], ["f"]),
        helper.make_node("Reshape", ["f", "rows"], ["w"]),
        helper.make_node("MatMul", ["w", "m"], ["p"]),
        helper.make_node("ReduceMean", ["p"], ["q"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["q", "d", "b"], ["scores"]),
    ]
    weights = {
        "k": random(4, 3, 3, 3),
        "gamma": random(4),
        "beta": random(4),
        "mean": random(4),
        "variance": random(4) ** 2 + 0.5,
        "rows": np.array([0, 14, 56]),
        "m": random(56, 7),
        "d": random(7, 5),
        "b": random(5),
    }
    return made(nodes, weights, ["n", 3, 28, 14], ["n", 5])


def test_weights_whose_shape_is_noted_are_quantized_dynamically(tmp_path):
    """torch's newer exporter lists weights among the values; the quantizer turns them and trips over the
    noted shape.
    """
    model = made(
        [
            helper.make_node("Flatten", ["image"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["scores"], transB=1),
        ],
        {"w": random(10, 48)},
        ["n", 3, 4, 4],
        ["n", 10],
    )
    model.graph.value_info.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [10, 48]))
    quantize(Graph(model), QuantSpec("dynamic_int8"), None, tmp_path / "dynamic.onnx")
    assert {tensor.data_type for tensor in onnx.load(tmp_path / "dynamic.onnx").graph.initializer} & {
        TensorProto.UINT8,
        TensorProto.INT8,
    }
    images = {"image": random(5, 3, 4, 4)}
    small, whole = (
        session_of(onnx.load(tmp_path / "dynamic.onnx") if q else model).run(None, images)[0]
        for q in (True, False)
    )
    assert np.corrcoef(small.ravel(), whole.ravel())[0, 1] > 0.99


def test_batchnorm_is_folded_and_nothing_else_changes():
    model = convolutional()
    face = face_of(model, None)
    images = random(6, 3, 28, 14)
    before = predictor(session_of(model), face)(images)
    graph = Graph(plain(model, face))
    after = folded(graph)
    assert "BatchNormalization" not in {node.op_type for node in after.model.graph.node}
    ((scores,),) = after.run(iter([images]), ["logits"])
    np.testing.assert_allclose(scores, before, rtol=1e-4, atol=1e-4)
    assert "BatchNormalization" in {node.op_type for node in graph.model.graph.node}


def test_grams_are_those_of_the_inputs_that_weights_meet(tmp_path, look):
    """What a layer gives is what its weights make of the rows that the grams are the second moments of."""
    from engine.backends import backend_for
    from engine.backends.onnx.framework import patches

    model = look(saved(tmp_path, convolutional()))
    backend = backend_for("onnx", model.preprocessing, tmp_path)
    graph = folded(Graph(plain(convolutional(), face_of(convolutional(), None))))
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 14, 3), np.uint8)
    layers = graph.layers()
    grams = backend.input_grams(graph, images, list(layers))
    means = backend.input_means(graph, images)
    assert [layer.kind for layer in backend.facts(graph).layers] == ["conv", "dense", "dense"] and set(
        grams
    ) == set(layers)
    for name, node in layers.items():
        weight, rows = graph.weight(node), []
        for batch in backend._inputs(images):
            ((given, wanted),) = graph.run(iter([batch]), [node.input[0], graph.output_of(node)])
            for one, out in zip(given, wanted, strict=True):
                rows.append(patches(one, node, weight.shape))
                out = np.moveaxis(out, 0, -1) if node.op_type == "Conv" else out
                np.testing.assert_allclose(
                    rows[-1] @ weight.reshape(len(weight), -1).T + graph.bias(node),
                    out.reshape(-1, len(weight)),
                    atol=1e-3,
                )
        rows = np.concatenate(rows)
        np.testing.assert_allclose(grams[name], rows.T @ rows / len(rows), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(means[name], rows.mean(0), rtol=1e-3, atol=1e-3)
        found = np.concatenate(list(backend.input_rows(graph, images, name)))
        np.testing.assert_allclose(found, rows, rtol=1e-3, atol=1e-3)


def test_a_product_over_places_takes_a_bias_and_four_bits(tmp_path, look):
    model = look(saved(tmp_path, convolutional()))
    from engine.backends import backend_for

    backend, graph = (
        backend_for("onnx", model.preprocessing, tmp_path),
        Graph(plain(convolutional(), face_of(convolutional(), None))),
    )
    name = next(n for n, node in graph.layers().items() if node.op_type == "MatMul")
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 14, 3), np.uint8)
    shifted = backend.with_weights(graph, {}, {name: np.arange(7, dtype=np.float32)})
    np.testing.assert_array_equal(backend.biases(shifted)[name], np.arange(7))
    grid = nearest_grid(backend.weights(shifted)[name], 4)
    path = backend.export(shifted, QuantSpec("weights", grids={name: grid}), None, tmp_path / "four")
    snapped = backend.with_weights(shifted, {name: grid.codes * grid.scales[:, None]})
    np.testing.assert_allclose(
        backend.predict(path, images), backend.logits(snapped, images), rtol=1e-3, atol=1e-2
    )
    assert opset_of(onnx.load(path)) == 21


def test_a_batch_that_can_not_be_freed_is_filled_up(tmp_path, look, home):
    """What is added to each image of a batch by its place works for that batch alone."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"]),
        helper.make_node("LpPool", ["c"], ["l"], kernel_shape=[1, 1], p=1),
        helper.make_node("Add", ["l", "each"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "d"], ["scores"]),
    ]
    weights = {"k": random(2, 1, 3, 3), "d": random(1352, 10), "each": np.full((4, 1, 1, 1), 0.5, np.float32)}
    model = look(saved(tmp_path, made(nodes, weights, [4, 1, 28, 28], [4, 10])))
    backend = open_backend(model, tmp_path, 1)
    graph, images = backend.load(model), load("digits", home, ("validation",))["validation"].images[:30]
    assert graph.fixed_batch == 4 and model.reach == "post_training"
    alone = np.concatenate([backend.logits(graph, images[i : i + 1]) for i in range(30)])
    np.testing.assert_allclose(backend.logits(graph, images), alone, rtol=1e-4, atol=1e-4)
    path = backend.export(graph, QuantSpec("static_int8"), images, tmp_path / "small")
    assert (backend.predict(path, images).argmax(1) == alone.argmax(1)).mean() > 0.8


def test_strangers_names_go(tmp_path, look):
    model = foreign_onnx.FORMS["an operator of its own"]()
    tensor = model.graph.initializer[0]
    old, tensor.name = tensor.name, "../../etc/passwd\x1b[2J"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = tensor.name if name == old else name
    found = look(saved(tmp_path, model), "digits")
    network = open_backend(found, tmp_path, 1).load(found)
    assert all(name.replace("_", "").isalnum() for name in network.layers())


def test_a_file_that_changed_is_not_opened(tmp_path, look):
    path = saved(tmp_path, foreign_onnx.FORMS["opset 7"]())
    model = look(path)
    path.write_bytes(goods.onnx())
    with pytest.raises(BadInput, match="changed"):
        open_backend(model, tmp_path, 1).load(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["channels last", "a batch of one"])
def test_a_whole_run_from_the_command_line(name, tmp_path, monkeypatch):
    """Post-training variants are made and measured; what trains is skipped with the reason, and no time is
    spent on it.
    """
    monkeypatch.setenv("EDGEWISE_HOME", str(tmp_path / "home"))
    path = saved(tmp_path, foreign_onnx.FORMS[name]())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "engine",
            "optimize",
            str(path),
            "--dataset",
            "digits",
            "--device",
            "raspberry_pi_4",
            "--time-budget",
            "10",
            "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    variants = {v["id"]: v for v in run["variants"]}
    made = {name for name, v in variants.items() if v["status"] == "done"}
    assert made == {"baseline", "ptq_int8", "dynamic_int8", "fp16", "ptq_int4", "ptq_int4@mixed"}
    assert variants["baseline"]["accuracy"] > 0.98
    for name in made - {"baseline"}:
        v = variants[name]
        assert (
            v["accuracy"] > variants["baseline"]["accuracy"] - 0.02
            and v["size_bytes"] < 0.6 * variants["baseline"]["size_bytes"]
        ), v
        assert (
            v["estimates"]["raspberry_pi_4"]["latency_ms"] is not None and v["host"]["latency_ms"]["p50"] > 0
        )
    assert all(
        v["status"] == "skipped" and "LpPool" in v["reason"]
        for name, v in variants.items()
        if name not in made
    )
    assert run["recommendation"]["winner"] in made


def test_an_open_image_size_becomes_the_data_sets(tmp_path, look):
    """A network that ends in a global pooling takes any size; what is written for the device states the one
    that it is used at.
    """
    model = foreign_onnx.untraceable(goods.onnx_model())
    for place, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name
    found = look(saved(tmp_path, model), "digits")
    assert found.input_shape == (28, 28, 1) and found.reach == "post_training"
    backend = open_backend(found, tmp_path, 1)
    path = backend.export(backend.load(found), None, None, tmp_path / "out")
    assert [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim][1:] == [1, 28, 28]


class Forked(nn.Module):
    """Two convolutions side by side: no known network, and no chain of its layers, gives its answers."""

    def __init__(self):
        super().__init__()
        self.near, self.far, self.scores = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(1, 8, 5, padding=2),
            nn.Linear(16 * 7 * 7, 10),
        )

    def forward(self, x):
        x = torch.relu(torch.cat([self.near(x), self.far(x)], 1))
        return self.scores(torch.flatten(torch.max_pool2d(x, 4), 1))


def test_a_torchscript_program_of_no_known_network_goes_through_onnx(tmp_path, look, home):
    torch.manual_seed(0)
    network = Forked().eval()
    torch.jit.save(torch.jit.trace(network, torch.rand(1, 1, 28, 28)), tmp_path / "forked.pt")
    model = look(tmp_path / "forked.pt", "digits")
    assert (model.format, model.architecture, model.reach, model.input_shape) == (
        "torchscript",
        None,
        "post_training",
        (28, 28, 1),
    )
    assert any("fit no network that is known" in warning for warning in model.warnings)
    backend, images = (
        open_backend(model, tmp_path / "cache", 1),
        load("digits", home, ("validation",))["validation"].images,
    )
    loaded = backend.load(model)
    assert {layer.kind for layer in backend.facts(loaded).layers} == {"conv", "dense"}
    scores = backend.logits(loaded, images)
    with torch.inference_mode():
        np.testing.assert_allclose(
            scores,
            network(torch.from_numpy(preprocess(images, model.preprocessing.model_dump()))).numpy(),
            atol=1e-4,
        )
    # 7 bits: the result of full ones hangs on whether this processor has dot-product instructions
    spec = QuantSpec("static_int8", reduced_range=True)
    path = backend.export(loaded, spec, images[:64], tmp_path / "int8")
    stored = {initializer.data_type for initializer in onnx.load(path).graph.initializer}
    assert (
        TensorProto.INT8 in stored
        and (backend.predict(path, images).argmax(1) == scores.argmax(1)).mean() >= 0.9
    )
