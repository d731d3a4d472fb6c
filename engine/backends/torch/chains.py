"""Channels that nothing else sees: removal for torch networks whose channels the dependency graph can't
follow.

A chain begins at a convolution or dense layer, goes through layers that keep channels apart (normalisation,
activation, pooling, depthwise convolution) and ends at the one layer that reads them. Its channels may go
whatever the rest of the network does with its own; shuffling them, say (Zhang et al., "ShuffleNet", arXiv
1707.01083).
"""

from collections import Counter
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import fx, nn

from engine.backends.torch.tracing import traced

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
APART = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
)
APART_FUNCTIONS = (
    torch.relu,
    nn.functional.relu,
    nn.functional.relu6,
    nn.functional.silu,
    nn.functional.hardswish,
    nn.functional.gelu,
    nn.functional.leaky_relu,
    nn.functional.dropout,
)


@dataclass(frozen=True)
class Chain:
    """Modules by name: the layer that makes the channels, those on the way with tensors a channel, the layer
    that reads.
    """

    first: str
    between: tuple[str, ...]
    last: str


def chains(network: nn.Module) -> dict[str, Chain]:
    """Returns the chains of a network that torch.fx can trace, by the name of their first layer."""
    modules = dict(network.named_modules())
    graph = traced(network).graph
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = {}
    for node in graph.nodes:
        chain = _followed(node, modules) if _is_whole(node, modules) else None
        if chain and all(calls[name] == 1 for name in (chain.first, *chain.between, chain.last)):
            found[chain.first] = chain
    return found


def _is_whole(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Tells whether each of the layer's outputs reads every input."""
    module = modules.get(node.target) if node.op == "call_module" else None
    return type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)


def _followed(node: fx.Node, modules: dict[str, nn.Module]) -> Chain | None:
    first, between = node.target, []
    while len(node.users) == 1:
        node = next(iter(node.users))
        module = modules.get(node.target) if node.op == "call_module" else None
        if _is_whole(node, modules):
            return Chain(first, tuple(between), node.target) if type(module) is type(modules[first]) else None
        depthwise = type(module) is nn.Conv2d and module.groups == module.in_channels == module.out_channels
        if depthwise or isinstance(module, NORMS):
            between.append(node.target)
        elif not isinstance(module, APART) and not (
            node.op == "call_function" and node.target in APART_FUNCTIONS
        ):
            return None
    return None


def remove(network: nn.Module, found: dict[str, Chain], kept: dict[str, int], importance: str) -> None:
    """Removes, in place, all but `kept` channels of some of the chains that were found, given by their first
    layer's name.

    A channel counts by its tensors in all layers of the chain: squared (`l2`), times their gradients
    (`taylor`), or by chance (`random`, from torch's generator).
    """
    modules = dict(network.named_modules())
    for name, count in kept.items():
        chain = found[name]
        score = _score(chain, modules, importance)
        gone = score.argsort()[: max(0, len(score) - count)].sort().values.tolist()
        if gone:
            _take(chain, modules, gone)


def _score(chain: Chain, modules: dict[str, nn.Module], importance: str) -> torch.Tensor:
    count = modules[chain.first].weight.shape[0]
    if importance == "random":
        return torch.rand(count)
    score = torch.zeros(count)
    weights = [(modules[name].weight, 0) for name in (chain.first, *chain.between)] + [
        (modules[chain.last].weight, 1)
    ]
    for weight, axis in weights:
        if weight is None:  # a normalisation that only scales by what it has seen
            continue
        value = (weight * weight.grad).abs() if importance == "taylor" else weight.square()
        sums = value.detach().transpose(0, axis).reshape(count, -1).sum(1)
        score += sums / sums.mean().clamp(min=1e-12)  # so that no layer of the chain outweighs the others
    return score


def _take(chain: Chain, modules: dict[str, nn.Module], gone: list[int]) -> None:
    first, last = modules[chain.first], modules[chain.last]
    dense = isinstance(first, nn.Linear)
    (tp.prune_linear_out_channels if dense else tp.prune_conv_out_channels)(first, gone)
    for module in map(modules.get, chain.between):
        (
            tp.prune_depthwise_conv_out_channels
            if isinstance(module, nn.Conv2d)
            else tp.prune_batchnorm_out_channels
        )(module, gone)
    (tp.prune_linear_in_channels if dense else tp.prune_conv_in_channels)(last, gone)
