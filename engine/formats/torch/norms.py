"""Does a network's normalisation see what it learnt? Layers that are wired as in training do."""

import numpy as np
import torch
from torch import nn


def strangeness(network: nn.Module, x: np.ndarray) -> list[float]:
    """Returns how far the inputs of each batch normalisation lie from the means and deviations that it keeps,
    for these images (float32, preprocessed): about 0 as in training, 1 for a whole deviation or a factor of
    e. In the order in which they run.
    """
    seen: list[float] = []

    def look(module: nn.BatchNorm2d, inputs: tuple, output: torch.Tensor) -> None:
        value, rest = inputs[0], [d for d in range(inputs[0].ndim) if d != 1]
        mean, variance = module.running_mean, module.running_var
        assert mean is not None and variance is not None
        kept = variance + module.eps
        shift = (value.mean(rest) - mean).abs() / kept.sqrt()
        stretch = ((value.var(rest, unbiased=False) + module.eps) / kept).log().abs()
        seen.append(float(torch.maximum(shift.median(), stretch.median())))

    handles = [
        module.register_forward_hook(look)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None
    ]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(x))
    finally:
        for handle in handles:
            handle.remove()
    return seen
