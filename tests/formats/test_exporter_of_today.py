"""ONNX as PyTorch's exporters write it, of today and of old: opened as a network, whatever batch it was
exported with.
"""

import io
import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.backends import backend_for, open_backend
from engine.errors import BadInput, EdgewiseError
from engine.formats.onnx import check, written
from engine.formats.onnx import network as network_
from engine.formats.onnx.face import face_of, predictor, session_of
from engine.formats.onnx.network import _try_network
from engine.formats.onnx.opset import raised
from engine.formats.onnx.plain import plain
from engine.formats.onnx.tidy import tidy
from tests.formats.test_onnx_only import saved

EXPORTS = {
    "today": {"external_data": False},
    "today, a free batch": {"external_data": False, "dynamic_shapes": ({0: torch.export.Dim("n")},)},
    "of old": {"dynamo": False, "opset_version": 14},
    "of old, a free batch": {
        "dynamo": False,
        "input_names": ["image"],
        "output_names": ["scores"],
        "dynamic_axes": {"image": {0: "n"}, "scores": {0: "n"}},
    },
}


class Attention(nn.Module):
    """Patches, a class token, places, multi-head attention, LayerNorm, GELU."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.before, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.dense = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.scores = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.scores((x + self.dense(x))[:, 0])


class Shuffled(nn.Module):
    """Squeeze-and-excitation, halves, a channel shuffle, ConvNeXt's layer over channels last, pooling
    beyond the edge.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.Conv2d(16, 4, 1), nn.SiLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid())
        self.own = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.PReLU(8))
        self.norm, self.dense = nn.LayerNorm(16), nn.Linear(16, 16)
        self.groups, self.pool = nn.GroupNorm(4, 16), nn.AvgPool2d(3, 2, ceil_mode=True)
        self.up, self.scores = nn.ConvTranspose2d(16, 8, 2, 2), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x * self.squeeze(x.mean((2, 3), keepdim=True))
        one, other = x.chunk(2, 1)
        x = torch.cat([one, self.own(other)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = x + self.dense(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        x = functional.pad(self.groups(x), (0, 1, 0, 1), value=0.5)
        return self.scores(self.up(self.pool(x)).amax((2, 3)))


def exported(network: nn.Module, **options) -> onnx.ModelProto:
    """The network as this exporter writes it, with a batch of one where that is not free."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.rand(2 if "dynamic_shapes" in options else 1, 3, 32, 32),), out, **options
        )
    return onnx.load_from_string(out.getvalue())


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = kind().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("way", EXPORTS)
@pytest.mark.parametrize("kind", [Attention, Shuffled])
def test_each_exporter_s_file_is_a_network_with_its_layers(kind, way, tmp_path, look):
    network = made(kind)
    path = saved(tmp_path, exported(network, **EXPORTS[way]))
    model = look(path)
    assert (model.reach, len(model.classes), model.input_shape) == ("all", 5, (32, 32, 3))
    assert len(model.warnings) == 1 and "No data set was given" in model.warnings[0]
    backend = open_backend(model, tmp_path / "cache", 1)
    opened, images = backend.load(model), torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        np.testing.assert_allclose(opened(images), network(images), atol=1e-4)
    facts = backend.facts(opened)
    own = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert facts.untraceable == "" and len(facts.layers) >= len(own) and facts.layers[-1].shape[0] == 5


@pytest.mark.parametrize("way", ["today", "of old"])
def test_a_batch_of_one_is_set_free_in_the_graph_itself(way):
    network = made(Attention)
    model = exported(network, **EXPORTS[way])
    face = face_of(model, None)
    form, images = plain(model, face), np.random.default_rng(1).random((3, 3, 32, 32), np.float32)
    assert form.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    scores = session_of(form).run(["logits"], {"input": images})[0]
    np.testing.assert_allclose(scores, predictor(session_of(model), face)(images), atol=1e-4)


def test_a_batch_of_four_is_set_free():
    network = made(Shuffled)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.rand(4, 3, 32, 32),), out, dynamo=False)
    model = onnx.load_from_string(out.getvalue())
    opened, why = _try_network(model, face_of(model, None), session_of(model))
    images = torch.rand(3, 3, 32, 32)
    assert opened is not None, why
    with torch.inference_mode():
        np.testing.assert_allclose(opened(images), network(images), atol=1e-4)


class Windows(nn.Module):
    """MobileViT's windows where the picture has become so small that each holds one token."""

    def __init__(self):
        super().__init__()
        self.patch, self.mixed, self.scores = nn.Conv2d(3, 8, 16, 16), nn.Linear(8, 24), nn.Linear(32, 5)

    def forward(self, x):
        x = self.patch(x)
        n = x.shape[0]
        x = x.reshape(n * 8, 2, 1, 2).transpose(1, 2).reshape(n, 8, 1, 4).transpose(1, 3).reshape(n * 4, 1, 8)
        q, k, v = self.mixed(x).reshape(n * 4, 1, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return self.scores((q * k + v).reshape(n, 32))


def test_a_batch_of_one_image_is_told_from_windows_of_one_token():
    network = made(Windows)
    model = exported(network, **EXPORTS["of old"])
    opened, why = _try_network(model, face_of(model, None), session_of(model))
    images = torch.rand(3, 3, 32, 32)
    assert opened is not None, why
    with torch.inference_mode():
        np.testing.assert_allclose(opened(images), network(images), atol=1e-4)


def test_sizes_that_follow_from_shapes_are_bounded(tmp_path):
    """A class token is expanded by the arithmetic on sizes that the exporter of old writes."""
    model = exported(made(Attention), **EXPORTS["of old, a free batch"])
    assert {"ConstantOfShape", "Shape", "Where"} <= {node.op_type for node in model.graph.node}
    check.check(saved(tmp_path, model))
    tidied = tidy(model, face_of(model, None))
    assert "Where" not in {node.op_type for node in tidied.graph.node}


def test_activations_in_parts_are_put_together_again():
    """Before opset 20 there is no GELU, and no opset has had SiLU."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(3136, 5)
    )
    model = exported(network.eval(), dynamo=False, opset_version=14)
    assert {"Erf", "Sigmoid"} <= {node.op_type for node in model.graph.node}
    opened, why = _try_network(model, face_of(model, None), session_of(model))
    assert opened is not None, why
    kinds = [type(module).__name__ for module in opened.children()]
    assert kinds == ["Conv2d", "GELU", "Conv2d", "SiLU", "Flatten", "Linear"]


def test_a_network_that_can_t_be_written_again_is_worked_on_as_a_graph(tmp_path, look, monkeypatch):
    def fails(*_, **__):
        raise torch.fx.proxy.TraceError("\x1b[31mproxy")

    path = saved(tmp_path, exported(made(Attention), dynamo=False))
    monkeypatch.setattr(written, "_by_script", fails)
    model = look(path)
    assert model.reach == "post_training"
    assert model.warnings[0].startswith("Only post-training techniques apply, because PyTorch can't write it")
    backend = open_backend(model, tmp_path / "cache", 1)
    assert backend.facts(backend.load(model)).framework == "onnx"
    monkeypatch.setattr(network_, "plain", lambda *_: fails_to_run())
    model = look(path)
    assert (model.reach, model.warnings[0]) == ("inspect", "It gives other scores.")
    broken = backend_for("pytorch", model.preprocessing, tmp_path / "cache")
    broken.exporter = fails
    with pytest.raises(EdgewiseError, match="can't be written as ONNX") as told:
        broken.export(made(Attention), None, None, tmp_path / "m")
    assert "Trace" not in str(told.value) and "\x1b" not in str(told.value)


def fails_to_run():
    raise BadInput("It gives other scores.")


def counted(step: int) -> onnx.ModelProto:
    """A graph that flattens by a Gather of all numbers, one picture after the other where `step` is 4."""
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 18]>
        strided (float[n, 3, 8, 8] image) => (float[n, 5] scores)
        <float[4, 3, 1, 1] w, float[4, 5] m, int64[1] all = {{-1}}, int64[1] no = {{0}}, int64[1] one = {{1}},
         int64 start = {{0}}, int64 by = {{1}}, int64 step = {{{step}}}, int64[4] four = {{0, 1, 2, 3}},
         int64[2] rows = {{-1, 4}}>
        {{
            seen = Conv(image, w)
            mean = GlobalAveragePool(seen)
            row = Reshape(mean, all)
            sizes = Shape(image)
            first = Slice(sizes, no, one)
            n = Squeeze(first, no)
            count = Range(start, n, by)
            begin = Mul(count, step)
            begins = Unsqueeze(begin, one)
            places = Add(begins, four)
            view = Gather(row, places)
            flat = Reshape(view, rows)
            scores = MatMul(flat, m)
        }}""")
    random = np.random.default_rng(0)
    for name, shape in (("w", (4, 3, 1, 1)), ("m", (4, 5))):
        weight = random.random(shape, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    return model


def test_a_view_that_counts_its_numbers_is_a_reshape():
    """Where they are counted, the shapes behind it are known to nobody, and the run ended there."""
    model = counted(4)
    tidied, images = tidy(model, face_of(model, None)), np.random.default_rng(1).random((3, 3, 8, 8))
    assert "Gather" not in {node.op_type for node in tidied.graph.node}
    given = [session_of(m).run(None, {"image": images.astype(np.float32)})[0] for m in (model, tidied)]
    np.testing.assert_allclose(*given, atol=1e-5)
    other = counted(2)
    assert "Gather" in {node.op_type for node in tidy(other, face_of(other, None)).graph.node}


class Gathered(nn.Module):
    """A table that is looked up by two indices, as attention with relative places does it."""

    def __init__(self):
        super().__init__()
        self.conv, self.scores = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.register_buffer("places", torch.tensor([[0, 1], [1, 0], [2, 2], [1, 1]]))

    def forward(self, x):
        grid = torch.relu(self.conv(x)).mean(0)
        picked = grid[:, self.places[:, 0], self.places[:, 1]].mean(1)
        return self.scores(picked[None].expand(x.shape[0], -1))


def test_a_lookup_by_several_indices_opens(tmp_path):
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Gathered().eval(), (torch.rand(1, 3, 8, 8),), path, verbose=False, external_data=False
        )
    assert "GatherND" in {node.op_type for node in onnx.load(path).graph.node}
    check.check(path)


def test_places_that_are_summed_up_are_followed():
    """As positional encodings are written (EdgeNeXt): sums along an axis, of every kind that ONNX has."""
    for number in range(4):
        model = onnx.parser.parse_model(f"""
            <ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] image) => (float[n,3] scores)
            <int64 axis = {{2}}> {{
                sizes = Shape(image)
                ones = ConstantOfShape <value = float[1] {{1.0}}> (sizes)
                summed = CumSum <exclusive = {number % 2}, reverse = {number // 2}> (ones, axis)
                wave = Sin(summed)
                placed = Mul(image, wave)
                pooled = GlobalAveragePool(placed)
                scores = Flatten(pooled)
            }}""")
        opened, why = _try_network(model, face_of(model, None), session_of(model))
        assert opened is not None, why


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("corners", [0, 1])
def test_a_network_that_turns_its_own_picture_is_followed(mode, corners, tmp_path):
    """A spatial transformer, as PyTorch's tutorial has one: it could be quantized only."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 20]> g (float[n,3,8,6] image) => (float[n,3] scores)
        <int64[3] rows = {{0, 2, 3}}, int64[2] axes = {{2, 3}}, int64[4] wide = {{1, 1, 1, 2}}> {{
            mean = ReduceMean(image, axes)
            twice = Tile(mean, wide)
            maps = Reshape(twice, rows)
            size = Shape(image)
            grid = AffineGrid <align_corners = {corners}> (maps, size)
            turned = GridSample <align_corners = {corners}, mode = "{mode}"> (image, grid)
            pooled = GlobalMaxPool(turned)
            scores = Flatten(pooled)
        }}""")
    check.check(saved(tmp_path, model))
    opened, why = _try_network(model, face_of(model, None), session_of(model))
    assert opened is not None, why


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_a_grid_is_still_read_in_a_later_opset(mode):
    """INT4 needs one; ONNX's converter left names of modes that only earlier ones have."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 18]>
        g (float[1,1,4,4] x, float[1,4,4,2] grid) => (float[1,1,4,4] y)
        {{ y = GridSample <mode = "{mode}"> (x, grid) }}""")
    numbers = np.random.default_rng(0).uniform(-1, 1, 48).astype(np.float32)
    given = {"x": numbers[:16].reshape(1, 1, 4, 4), "grid": numbers[16:].reshape(1, 4, 4, 2)}
    before, after = (session_of(m).run(None, given)[0] for m in (model, raised(model, 21)))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("heads", [0, 2])
def test_attention_in_one_operator_is_followed(heads, tmp_path):
    """As `opset_version=23` writes it; a ViT was told that it is a network for text."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 23]> g (float[n,3,8,8] image) => (float[n,3] scores)
        <int64[3] rows = {{0, 3, 64}}, int64[4] picture = {{0, 3, 8, 8}}> {{
            q = {"Reshape(image, rows)" if heads else "Identity(image)"}
            k = Sin(q)
            made = Attention {f"<q_num_heads = {heads}, kv_num_heads = {heads}>" if heads else ""} (q, k, q)
            back = Reshape(made, picture)
            pooled = GlobalMaxPool(back)
            scores = Flatten(pooled)
        }}""")
    check.check(saved(tmp_path, model))
    opened, why = _try_network(model, face_of(model, None), session_of(model))
    assert opened is not None, why


@pytest.mark.parametrize(
    "line", ["Cos(i)", "Trilu(i)", "Hardmax(i)", "Shrink(i)", "CastLike(i, i)", "OneHot <axis = 1> (c, d, v)"]
)
def test_what_does_not_grow_is_taken(line, tmp_path):
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 17]> g (float[n,3,8,8] i) => (float[n,3] scores)
        <int64 d = {{3}}, float[2] v = {{0.0, 1.0}}> {{
            c = ArgMax <axis = 1, keepdims = 0> (i)
            made = {line}
            pooled = GlobalAveragePool(made)
            scores = Flatten(pooled)
        }}""")
    check.check(saved(tmp_path, model))
    assert len(session_of(model).run(None, {"i": np.zeros((1, 3, 8, 8), np.float32)})[0][0]) == 3


def test_a_weight_that_is_listed_among_the_values_is_no_value(tmp_path, monkeypatch):
    """The exporter of today lists them all; those of VGG's first dense layer hold a hundred million."""
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 50), nn.ReLU(), nn.Linear(50, 5)).eval()
        torch.onnx.export(network, (torch.rand(1, 3, 8, 8),), path, verbose=False, external_data=False)
    model = onnx.load(path)
    del model.graph.value_info[:]
    listed = [
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer
    ]
    model.graph.value_info.extend(listed)
    onnx.save(model, path)
    monkeypatch.setattr(check, "LIMIT", 1_000)
    check.check(path)
    absurd = onnx.helper.make_tensor_value_info("made", onnx.TensorProto.FLOAT, [3_000])
    model.graph.value_info.append(absurd)
    onnx.save(model, path)
    with pytest.raises(BadInput, match="'made' of the ONNX graph has the absurd shape"):
        check.check(path)
