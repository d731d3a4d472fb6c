"""Dense layers over tokens and channels last, as attention and ConvNeXt have them: their weights keep their
layers' names in the exported graph, so that every way of storing them finds them.
"""

import numpy as np
import pytest
import torch
from torch import nn

from engine.backends import QuantSpec, backend_for, nearest_grid
from engine.backends.torch.attention import apart
from engine.vocabulary import Preprocessing

HOW = Preprocessing(height=8, width=8, color="rgb", layout="NCHW", mean=[0.0], std=[1.0])
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


class Rows(nn.Module):
    """Two square layers without bias, equal at first, between two of other shapes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.scores = nn.Linear(3, 6), nn.Linear(6, 5)
        self.one, self.other = (nn.Linear(6, 6, bias=False) for _ in range(2))
        self.other.load_state_dict(self.one.state_dict())

    def forward(self, x):
        x = torch.relu(self.wide(x.permute(0, 2, 3, 1)))
        return self.scores(torch.relu(self.other(torch.relu(self.one(x))))).mean((1, 2))


@pytest.fixture
def backend(tmp_path):
    return backend_for("pytorch", HOW, tmp_path)


def test_layers_of_equal_weights_have_each_its_own(backend, tmp_path):
    network = Rows().eval()
    weights = backend.weights(network)
    changed = backend.with_weights(network, {"one": -weights["one"]})
    for place, each in enumerate((network, changed)):  # the second is written into the first one's graph
        path = backend.export(each, None, None, tmp_path / f"{place}")
        np.testing.assert_allclose(
            backend.predict(path, IMAGES), backend.logits(each, IMAGES), rtol=1e-4, atol=1e-5
        )
    assert len(list(tmp_path.glob("graph-*.onnx"))) == 1


def test_every_layer_can_be_stored_in_four_bits(backend, tmp_path):
    network = Rows().eval()
    grids = {name: nearest_grid(weight, 4) for name, weight in backend.weights(network).items()}
    path = backend.export(network, QuantSpec("weights", grids=grids), None, tmp_path / "int4")
    assert [kind for _, kind in backend.stored_tensors(path)].count("int4") == 4
    assert (
        np.corrcoef(backend.predict(path, IMAGES).ravel(), backend.logits(network, IMAGES).ravel())[0, 1]
        > 0.9
    )


def test_the_mean_input_of_a_layer_over_channels_last_is_one_a_channel(backend):
    network = Rows().eval()
    means, weights = backend.input_means(network, IMAGES), backend.weights(network)
    assert set(means) == {"wide", "one", "other", "scores"}
    assert all(len(mean) == weights[name][0].size for name, mean in means.items())
    for name, mean in means.items():
        rows = np.concatenate(list(backend.input_rows(network, IMAGES, name)))
        np.testing.assert_allclose(rows.mean(axis=0), mean, atol=1e-4)


class Attends(nn.Module):
    """Attention over the pixels, with or without something beside them that it looks at."""

    def __init__(self, batch_first: bool = True, masked: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.wide, self.scores = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.mask = torch.eye(4, dtype=torch.bool) if masked else None

    def forward(self, x):
        x = self.wide(x).flatten(2).transpose(1, 2)
        x = x if self.attention.batch_first else x.transpose(0, 1)
        x = x + self.attention(x, x, x, need_weights=False, attn_mask=self.mask)[0]
        return self.scores(x).mean(1 if self.attention.batch_first else 0)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_comes_apart_into_layers(batch_first, backend, tmp_path):
    network, x = Attends(batch_first).eval(), torch.rand(3, 3, 8, 8)
    made = apart(network, x)
    with torch.inference_mode():
        torch.testing.assert_close(made(x), network(x), rtol=1e-4, atol=1e-5)
    names = {"wide", "attention.inner", "attention.outer", "scores"}
    assert {layer.name for layer in backend.facts(made).layers} == names
    grids = {name: nearest_grid(weight, 4) for name, weight in backend.weights(made).items()}
    path = backend.export(made, QuantSpec("weights", grids=grids), None, tmp_path / "int4")
    assert [kind for _, kind in backend.stored_tensors(path)].count("int4") == len(names)


def test_attention_under_a_mask_stays_as_it_is():
    network = Attends(masked=True).eval()
    assert apart(network, torch.rand(3, 3, 8, 8)) is network
