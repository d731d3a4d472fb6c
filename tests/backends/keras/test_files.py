"""Every kind of TFLite file that the Keras backend writes, checked by reading the flatbuffer."""

from collections import Counter

import numpy as np
import pytest

from engine.backends.grid import dequantized, nearest_grid
from engine.backends.protocol import QuantSpec
from engine.backends.tflite import integer
from engine.techniques.shared.encoding import encode
from tests.backends.packing import unpacked

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def files():
    """What reading TFLite takes; imported late, so that the fast tests of other folders never load it."""
    from engine.backends.tflite import file as tflite_file

    return tflite_file


def weights_of(file, files) -> list:
    """Returns the stored tensors of two or more dimensions that an operator computes with."""
    return [
        t
        for i, t in enumerate(file.graph.tensors)
        if len(t.shape) >= 2 and file.is_constant(i) and t.type != files.INT32
    ]


def alike(backend, path, network, images) -> float:
    """Returns how well a file's scores follow the network's: their correlation. Noise has too many near ties
    for classes.
    """
    return float(
        np.corrcoef(backend.predict(path, images).ravel(), backend.logits(network, images).ravel())[0, 1]
    )


def test_float_file_answers_like_the_network(small, tmp_path):
    backend, network, images = small
    path = backend.export(network, None, None, tmp_path / "float")
    assert np.allclose(backend.predict(path, images), backend.logits(network, images), atol=TOLERANCE)


def test_full_int8_has_no_float_inside(small, tmp_path, files):
    backend, network, images = small
    path = backend.export(network, QuantSpec("static_int8"), images, tmp_path / "int8")
    file = files.TFLite.read(path)
    assert {t.type for t in file.graph.tensors if t.type not in (files.INT32, files.TYPES.INT64)} == {
        files.INT8
    }
    assert not {file.op(o) for o in file.graph.operators} & {"QUANTIZE", "DEQUANTIZE"}
    assert alike(backend, path, network, images) > 0.995


def test_float_input_and_output_on_request(small, tmp_path, files):
    backend, network, images = small
    path = backend.export(network, QuantSpec("static_int8"), images, tmp_path / "int8")
    file = files.TFLite.read(*backend.companions(path))
    ops = [file.op(o) for o in file.graph.operators]
    assert (ops[0], ops[-1]) == ("QUANTIZE", "DEQUANTIZE") and Counter(ops)["QUANTIZE"] == 1
    assert {file.tensor(int(i)).type for i in (*file.graph.inputs, *file.graph.outputs)} == {files.FLOAT}


@pytest.fixture
def one_without_a_kernel(monkeypatch):
    """The second convolution of a graph counts as one that integer kernels can't compute."""
    able = integer._can

    def can(file, operator) -> bool:
        convolutions = [o for o in file.graph.operators if file.op(o) == "CONV_2D"]
        return able(file, operator) and operator is not convolutions[1]

    monkeypatch.setattr(integer, "_can", can)


def test_operators_without_integer_kernels_are_bridged(small, tmp_path, files, one_without_a_kernel):
    backend, network, images = small
    path = backend.export(network, QuantSpec("static_int8"), images, tmp_path / "int8")
    file = files.TFLite.read(path)
    ops = Counter(file.op(o) for o in file.graph.operators)
    assert ops["DEQUANTIZE"] == ops["QUANTIZE"] == 1
    assert any(t.type == files.FLOAT for t in weights_of(file, files))


@pytest.mark.parametrize("rule", ["minmax", "percentile", "entropy"])
def test_every_range_rule_keeps_the_answers(small, tmp_path, rule):
    backend, network, images = small
    path = backend.export(network, QuantSpec("static_int8", calibrate=rule), images, tmp_path / rule)
    assert alike(backend, path, network, images) > 0.98


def test_int4_is_packed_and_is_the_grid(small, tmp_path, files):
    backend, network, _ = small
    folded = backend.folded(network)
    grids = {name: nearest_grid(w, 4) for name, w in backend.weights(folded).items()}
    path = backend.export(folded, QuantSpec("weights", grids=grids), None, tmp_path / "int4")
    file = files.TFLite.read(path)
    stored = weights_of(file, files)
    assert {t.type for t in stored} == {files.INT4}
    packed = sum(len(file.model.buffers[t.buffer].data) for t in stored)
    scales = sum(4 * len(t.quantization.scale) for t in stored)
    weights = sum(g.codes.size for g in grids.values())
    assert packed == weights // 2 and packed + scales <= 4 * weights / 6.5
    codes = grids[backend.facts(network).layers[-1].name].codes
    last = next(t for t in stored if tuple(t.shape) == codes.shape)
    assert np.array_equal(
        unpacked(np.asarray(file.model.buffers[last.buffer].data), codes.size).reshape(codes.shape), codes
    )


def test_int4_file_computes_what_its_codes_say(small, tmp_path):
    backend, network, images = small
    folded = backend.folded(network)
    grids = {name: nearest_grid(w, 4) for name, w in backend.weights(folded).items()}
    path = backend.export(folded, QuantSpec("weights", grids=grids), None, tmp_path / "int4")
    wanted = backend.logits(
        backend.with_weights(folded, {n: dequantized(g) for n, g in grids.items()}), images
    )
    found = backend.predict(path, images)
    # the kernels round activations to 8 bits as they come
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).mean()


def test_learned_grids_and_ranges_are_the_ones_in_the_file(small, tmp_path, files):
    backend, network, images = small
    folded = backend.folded(network)
    layer = backend.facts(network).layers[0].name
    grid = nearest_grid(backend.weights(folded)[layer], 8)
    spec = QuantSpec("static_int8", grids={layer: grid}, activations={layer: (-1.0, 2.0)})
    file = files.TFLite.read(backend.export(folded, spec, images, tmp_path / "learned"))
    first = next(o for o in file.graph.operators if file.op(o) == "CONV_2D")
    assert np.allclose(file.tensor(int(first.inputs[1])).quantization.scale, grid.scales)
    assert np.array_equal(file.values(int(first.inputs[1])), grid.codes.transpose(0, 2, 3, 1))
    assert file.scale_of(int(first.inputs[0]))[0] == pytest.approx(3 / 255)


def test_reduced_range_keeps_to_seven_bits(small, tmp_path, files):
    backend, network, images = small
    file = files.TFLite.read(
        backend.export(network, QuantSpec("static_int8", reduced_range=True), images, tmp_path / "reduced")
    )
    codes = [file.values(int(o.inputs[1])) for o in file.graph.operators if file.op(o) in files.LAYER_OPS]
    assert max(int(np.abs(c.astype(int)).max()) for c in codes) == 63


def test_fp16_and_dynamic_store_what_they_say(small, tmp_path, files):
    backend, network, images = small
    half = files.TFLite.read(backend.export(network, QuantSpec("fp16"), None, tmp_path / "half"))
    assert {t.type for t in weights_of(half, files)} == {files.HALF}
    path = backend.export(network, QuantSpec("dynamic_int8"), None, tmp_path / "dynamic")
    dynamic = files.TFLite.read(path)
    assert {t.type for t in weights_of(dynamic, files)} == {files.INT8}
    assert alike(backend, path, network, images) > 0.995


def test_many_zeros_are_stored_sparsely_and_mean_the_same(small, tmp_path, files):
    backend, network, images = small
    weights = {n: w * (np.abs(w) > np.quantile(np.abs(w), 0.9)) for n, w in backend.weights(network).items()}
    sparse = backend.with_weights(network, weights)
    path = backend.export(sparse, None, None, tmp_path / "sparse")
    file = files.TFLite.read(path)
    assert "DENSIFY" in {file.op(o) for o in file.graph.operators}
    assert path.stat().st_size < 0.3 * backend.export(network, None, None, tmp_path / "dense").stat().st_size
    assert np.allclose(backend.predict(path, images), backend.logits(sparse, images), atol=TOLERANCE)


def test_a_shape_is_converted_once(small, tmp_path, monkeypatch):
    from engine.backends.keras import export as keras_export

    backend, network, _ = small
    backend.export(network, None, None, tmp_path / "first")
    monkeypatch.setattr(keras_export, "_converted", lambda live: pytest.fail("converted again"))
    other = backend.with_weights(network, {n: w * 0.5 for n, w in backend.weights(network).items()})
    backend.export(other, QuantSpec("fp16"), None, tmp_path / "second")


def test_entropy_coding_finds_the_tensors(small, tmp_path):
    backend, network, _ = small
    folded = backend.folded(network)
    grids = {name: nearest_grid(w, 4) for name, w in backend.weights(folded).items()}
    path = backend.export(folded, QuantSpec("weights", grids=grids), None, tmp_path / "int4")
    assert len(encode(path.read_bytes(), backend.stored_tensors(path))) < path.stat().st_size


def test_full_int8_has_a_companion_with_float_ends(small, tmp_path, files):
    backend, network, images = small
    path = backend.export(network, QuantSpec("static_int8"), images, tmp_path / "int8")
    (beside,) = backend.companions(path)
    assert np.allclose(backend.predict(beside, images), backend.predict(path, images), atol=1e-5)
    assert files.TFLite.read(beside).op(files.TFLite.read(beside).graph.operators[0]) == "QUANTIZE"
    assert backend.companions(backend.export(network, None, None, tmp_path / "float")) == []


def test_a_whole_integer_graph_needs_no_remark(small, tmp_path):
    backend, network, images = small
    assert backend.remarks(backend.export(network, QuantSpec("static_int8"), images, tmp_path / "int8")) == []


def test_remarks_say_what_stays_in_float(small, tmp_path, one_without_a_kernel):
    backend, network, images = small
    mixed = backend.export(network, QuantSpec("static_int8"), images, tmp_path / "mixed")
    assert backend.remarks(mixed) == ["These operators stay in float inside the INT8 graph: CONV_2D."]


def test_depthwise_int4_is_in_the_file_and_said_to_be_widened(backend_for, images, tmp_path, files):
    import keras
    from keras import layers

    from engine.backends.keras.apart import graph_of

    inputs = keras.Input((16, 16, 3))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=4)(inputs)
    network = graph_of(keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x))))
    backend = backend_for(16, 3)
    grids = {name: nearest_grid(w, 4) for name, w in backend.weights(network).items()}
    path = backend.export(network, QuantSpec("weights", grids=grids), None, tmp_path / "depthwise")
    assert {t.type for t in weights_of(files.TFLite.read(path), files)} == {files.INT4}
    assert backend.remarks(path)[0].startswith(
        "LiteRT has no INT4 kernel for depthwise convolutions: the weights of 1 of them"
    )
    wanted = backend.logits(
        backend.with_weights(network, {n: dequantized(g) for n, g in grids.items()}), images
    )
    assert np.abs(backend.predict(path, images) - wanted).mean() < 0.05 * np.abs(wanted).mean()


def test_weights_are_named_after_their_layers(small, tmp_path, files):
    backend, network, _ = small
    file = files.TFLite.read(backend.export(network, None, None, tmp_path / "named"))
    names = [file.name(i) for i in range(len(file.graph.tensors))]
    assert len(set(names)) == len(names) and {"input", "output"} <= set(names)
    assert {f"{layer.name}.weight" for layer in backend.facts(network).layers} <= set(names)


def test_a_layer_that_is_all_zeros_is_stored_sparsely_too(small, tmp_path):
    backend, network, images = small
    weights = backend.weights(network)
    name = list(weights)[2]
    silent = backend.with_weights(network, {name: np.zeros_like(weights[name])})
    path = backend.export(silent, None, None, tmp_path / "silent")
    assert np.allclose(backend.predict(path, images), backend.logits(silent, images), atol=TOLERANCE)


@pytest.mark.parametrize("rule", ["percentile", "entropy"])
@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-8])
def test_activations_that_hardly_change_have_a_range_too(small, tmp_path, rule, scale):
    backend, network, images = small
    weights = {name: w * scale for name, w in backend.weights(network).items()}
    path = backend.export(
        backend.with_weights(network, weights),
        QuantSpec("static_int8", calibrate=rule),
        images[:20],
        tmp_path / "still",
    )
    assert np.isfinite(backend.predict(path, images[:4])).all()
