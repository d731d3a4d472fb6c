"""Weights put into a network."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput

Weights = Mapping[str, np.ndarray]
AS_ONNX = (
    "export the whole network with `torch.onnx.export(model.eval(), example, 'model.onnx',"
    " external_data=False)`."
)


def fill(network: nn.Module, weights: Weights, name: str) -> nn.Module:
    """Puts `weights` into `network` (which may be on the meta device). Raises BadInput naming the first
    mismatch.
    """
    own = network.state_dict()
    for key in sorted(set(own) ^ set(weights)):
        if not key.endswith("num_batches_tracked"):
            where = "lacks" if key in own else "has a surplus"
            raise BadInput(
                f"The weights don't fit {name}: the file {where} '{key[:80]}'; name another architecture, or"
                f" {AS_ONNX}"
            )
    for key in own:
        if key in weights and tuple(own[key].shape) != weights[key].shape:
            raise BadInput(
                f"The weights don't fit {name}: '{key[:80]}' is {list(weights[key].shape)} in the file and"
                f" {list(own[key].shape)} in the network; name another architecture, or {AS_ONNX}"
            )
        if key in weights and own[key].is_floating_point() and not _are_numbers(weights[key]):
            raise BadInput(
                f"The weights don't fit {name}: '{key[:80]}' is empty or holds no floating-point numbers;"
                f" save the network as it was trained, before it is quantized, or {AS_ONNX}"
            )
    for key in own:  # in place, so that the versions that some layers look for stay with it
        own[key] = (
            torch.from_numpy(np.ascontiguousarray(weights[key]))
            if key in weights
            else torch.zeros((), dtype=torch.long)
        )
    network.load_state_dict(own, assign=True)
    return network.float().eval().requires_grad_(False)


def _are_numbers(weight: np.ndarray) -> bool:
    return weight.dtype.kind == "f" and weight.size > 0
