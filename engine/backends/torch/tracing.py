"""A network's modules in the order in which they run, as torch.fx finds it: the one tracer of the backend."""

import copy

from torch import fx, nn
from torch.fx.experimental.optimization import fuse

from engine.backends.torch.training import WEIGHTED


class _Tracer(fx.Tracer):
    """Keeps layers whole that are a user's own kinds of convolution or dense layer: torch.fx would take them
    apart, and their weights would belong to no layer any more.
    """

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, WEIGHTED) or super().is_leaf_module(module, name)


def traced(network: nn.Module) -> fx.GraphModule:
    """Returns the network as a graph; raises whatever a foreign forward() raises that can't be followed."""
    if isinstance(network, fx.GraphModule):  # as an ONNX file becomes one
        return network
    tracer = _Tracer()
    graph = tracer.trace(network)  # first, because it finds the root
    return fx.GraphModule(tracer.root, graph)


def folded(network: nn.Module) -> nn.Module:
    """Returns a copy in eval mode whose BatchNorm is folded into the layers before it. Raises as `traced`
    does.
    """
    own = traced(copy.deepcopy(network).eval())
    return fuse(own, inplace=True, no_trace=True).requires_grad_(False)
