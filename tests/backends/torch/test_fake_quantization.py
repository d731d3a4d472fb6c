"""Simulated rounding of weights: torch's own function and ours agree, in values and in gradients."""

import numpy as np
import pytest
import torch

from engine.backends.torch import training

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(6, 40), (8, 3, 3, 3), (5, 1, 3, 3)])
@pytest.mark.parametrize("high", [7, 63, 127])
def test_the_fallback_does_what_torch_does(monkeypatch, shape, high):
    weight, scale = RANDOM.normal(size=shape), RANDOM.uniform(0.5, 2.0, shape[0])
    made = []
    for own in (True, False):
        if not own:
            monkeypatch.delattr(torch, "_fake_quantize_learnable_per_channel_affine")
        w = torch.tensor(weight, dtype=torch.float32, requires_grad=True)
        s = torch.tensor(scale / high, dtype=torch.float32, requires_grad=True)
        out = training.fake_quantized(w, s, torch.zeros(len(w)), -high - 1, high, 0.05)
        (out * torch.arange(out.numel()).reshape(out.shape).cos()).sum().backward()
        made.append((out.detach().numpy(), w.grad.numpy(), s.grad.numpy()))
    for ours, theirs in zip(*made, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
