"""The one tracer: layers of a user's own kind stay layers, and BatchNorm goes into the layer before it."""

import torch
from torch import nn

from engine.backends.torch.tracing import folded, traced


class OwnLinear(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), OwnLinear(144, 5))
    nn.init.uniform_(made[1].running_var, 0.5, 2)
    return made.eval()


def test_a_layer_of_a_users_own_kind_stays_whole():
    assert type(traced(network()).get_submodule("4")) is OwnLinear


def test_batchnorm_is_folded_and_the_answers_stay():
    made, x = network(), torch.rand(2, 3, 8, 8)
    without = folded(made)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in without.modules())
    assert any(name.startswith("4") for name, _ in without.named_parameters())
    torch.testing.assert_close(without(x), made(x), rtol=1e-4, atol=1e-5)


def test_a_graph_stays_the_graph_it_is():
    graph = traced(network())
    assert traced(graph) is graph
