"""PyTorch networks as TFLite: converted once a shape, and every kind of file of the format then works."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.backends import backend_for
from engine.backends.grid import nearest_grid
from engine.backends.protocol import QuantSpec
from engine.errors import EdgewiseError
from engine.vocabulary import Preprocessing
from estimator.capability import EDGE_TPU_OPERATORS
from estimator.profile.graph import profile

HOW = Preprocessing(height=16, width=16, color="grey", layout="NCHW", mean=[0.5], std=[0.25])
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), dtype=np.uint8)


class Network(nn.Module):
    """A bit of all: one channel in, padded pooling, depthwise and grouped layers, a gate, flattening."""

    def __init__(self, n: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.depthwise = nn.Sequential(nn.Conv2d(n, n, 3, 2, 1, groups=n), nn.BatchNorm2d(n), nn.ReLU6())
        self.grouped = nn.Conv2d(n, 16, 3, padding=1, groups=4)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.end = nn.Linear(16 * 4 * 4, 5, bias=False)

    def forward(self, x):
        x = torch.relu(self.grouped(self.depthwise(self.pool(self.first(x)))))
        return self.end(torch.flatten(x * self.gate(x), 1))


def network(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    made = Network(width).eval().requires_grad_(False)
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return made


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The backend, with the one conversion that all tests here share."""
    pytest.importorskip("litert_torch")
    folder = tmp_path_factory.mktemp("tflite")
    backend = backend_for("pytorch", HOW, folder / "cache", format="tflite")
    backend.export(network(0), None, None, folder / "first")
    return backend


def alike(backend, path, wanted) -> float:
    """Returns how well a file's scores follow the network's: their correlation."""
    return float(
        np.corrcoef(backend.predict(path, IMAGES).ravel(), backend.logits(wanted, IMAGES).ravel())[0, 1]
    )


@pytest.mark.slow
def test_other_weights_and_widths_are_written_and_nothing_is_converted(converted, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.backends.torch.export_tflite._converted", lambda *_: pytest.fail("converted"))
    with_bias = converted.with_weights(network(1), {}, {"end": np.arange(5, dtype=np.float32)})
    for other in (network(1), network(1, width=4), with_bias):
        path = converted.export(other, None, None, tmp_path / "other")
        assert np.allclose(converted.predict(path, IMAGES), converted.logits(other, IMAGES), atol=1e-5)
    found = profile(path)
    assert "TRANSPOSE" not in {layer.op for layer in found.layers}
    assert [layer.op for layer in found.layers if layer.macs] == (
        ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "CONV_2D", "FULLY_CONNECTED"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static_int8", "dynamic_int8", "fp16", "weights"])
def test_every_kind_of_file_follows_the_network(converted, tmp_path, kind):
    other = converted.folded(network(2))
    grids = {n: nearest_grid(w, 4) for n, w in converted.weights(other).items()} if kind == "weights" else {}
    path = converted.export(other, QuantSpec(kind, grids=grids), IMAGES, tmp_path / kind)
    rounded = {
        name: grid.scales.reshape(-1, *[1] * (grid.codes.ndim - 1)) * grid.codes
        for name, grid in grids.items()
    }
    assert alike(converted, path, converted.with_weights(other, rounded)) > 0.99


@pytest.mark.slow
def test_full_int8_is_all_on_the_edge_tpus_list(converted, tmp_path):
    found = profile(converted.export(network(3), QuantSpec("static_int8"), IMAGES, tmp_path / "int8"))
    assert {layer.op for layer in found.layers} <= EDGE_TPU_OPERATORS
    assert found.precision == "int8" and converted.remarks(tmp_path / "int8.tflite") == []


@pytest.mark.slow
def test_what_the_converter_can_not_follow_is_one_sentence(converted, tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x[:, 0])

    with pytest.raises(EdgewiseError, match="LiteRT Torch can't convert it") as caught:
        converted.export(Odd(), None, None, tmp_path / "odd")
    assert "\n" not in str(caught.value)
