"""Fine-tuning of torch networks: one step, in float or with simulated quantization.

Simulated quantization learns the step size of every output channel with the weights ("LSQ", Esser et al.,
arXiv 1902.08153), through torch's learnable fake-quantization; activations follow a moving range (Jacob et
al., arXiv 1712.05877).
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from engine.backends.grid import Grid, best_scales
from engine.backends.protocol import Trained, Training
from engine.backends.training import GRIDS_SHARE, LARGEST_GRADIENT, WEIGHT_DECAY, Masks, fit
from engine.datasets import Part
from engine.vocabulary import Preprocessing

WEIGHTED = (nn.Conv2d, nn.Linear)


def fake_quantized(
    weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, low: int, high: int, gain: float
) -> torch.Tensor:
    """Rounds a weight [out, …] to codes `low` … `high` times `scale` [out]; gradients pass through to the
    weight and, times `gain`, to the scale. torch's own function does it in one pass, but is not public.
    """
    own = getattr(torch, "_fake_quantize_learnable_per_channel_affine", None)
    return own(weight, scale, zero, 0, low, high, gain) if own else _rounded(weight, scale, low, high, gain)


def _rounded(weight: torch.Tensor, scale: torch.Tensor, low: int, high: int, gain: float) -> torch.Tensor:
    scale = scale.reshape((-1,) + (1,) * (weight.dim() - 1))
    scale = (scale * (1 - gain)).detach() + scale * gain
    exact = weight / scale
    codes = torch.round(exact).detach()
    inside = (codes >= low) & (codes <= high)
    return torch.where(inside, exact + (codes - exact).detach(), codes.clamp(low, high)) * scale


class WeightGrid(nn.Module):
    """Parametrization of a weight: rounds it to `bits`-bit codes times a learned scale per output channel."""

    def __init__(self, weight: torch.Tensor, bits: int, reduced: bool):
        super().__init__()
        self.high = 2 ** (bits - 1) - 1 if not reduced else 2 ** (bits - 2) - 1
        self.low = -self.high - 1
        scales = best_scales(weight.detach().numpy(), self.high, search=bits == 4)
        self.scale = nn.Parameter(torch.from_numpy(scales.astype(np.float32)))
        self.register_buffer("zero", torch.zeros_like(self.scale))
        self.gain = 1 / math.sqrt(weight[0].numel() * self.high)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = self.scale.clamp(min=1e-8)
        return fake_quantized(weight, scale, self.zero, self.low, self.high, self.gain)

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """Returns the integers that the weight is rounded to."""
        shape = (-1,) + (1,) * (weight.dim() - 1)
        return torch.clamp(
            torch.round(weight / self.scale.clamp(min=1e-8).reshape(shape)), self.low, self.high
        )


class ActivationRange:
    """Forward pre-hook: rounds a layer's input to 8 bits over a moving (low, high) range that always holds
    0.
    """

    def __init__(self):
        self.low = self.high = None

    def __call__(self, module: nn.Module, inputs: tuple) -> tuple:
        x = inputs[0]
        if module.training or self.low is None:
            low, high = min(0.0, float(x.detach().min())), max(0.0, float(x.detach().max()))
            self.low = low if self.low is None else 0.95 * self.low + 0.05 * low
            self.high = high if self.high is None else 0.95 * self.high + 0.05 * high
        scale = max(self.high - self.low, 1e-6) / 255
        zero = int(np.clip(round(-self.low / scale), 0, 255))
        return (torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255), *inputs[1:])


class TorchLearner:
    """See `Learner`: a torch network, which is changed in place, and its optimizer."""

    def __init__(self, network: nn.Module, training: Training):
        torch.manual_seed(training.seed)
        self.network, self.training = network, training
        network.requires_grad_(True).to(memory_format=torch.channels_last)  # a fifth faster on processors
        self.layers = {name: m for name, m in network.named_modules() if isinstance(m, WEIGHTED)}
        self.ranges = _simulate(self.layers, training)
        self.masks: dict[str, torch.Tensor] = {}
        self.optimizer = _optimizer(network)

    def step(self, inputs: np.ndarray, labels: np.ndarray, wanted: np.ndarray | None, rate: float) -> None:
        self.network.train()
        scores = self.network(_tensor(inputs)).flatten(1)
        target = None if wanted is None else torch.from_numpy(wanted)
        loss = _loss(scores, torch.from_numpy(labels), target, self.training)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        weights, grids = self.optimizer.param_groups
        weights["lr"], grids["lr"] = rate, rate * GRIDS_SHARE
        self.optimizer.step()
        self._apply_masks()

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        self.network.eval()
        with torch.inference_mode():
            return self.network(_tensor(inputs)).flatten(1).numpy()

    def weights(self) -> dict[str, np.ndarray]:
        return {name: _weight(module).detach().numpy() for name, module in self.layers.items()}

    def hold(self, masks: Masks) -> None:
        self.masks = {name: torch.from_numpy(mask) for name, mask in masks.items()}
        self._apply_masks()

    def _apply_masks(self) -> None:
        with torch.no_grad():
            for name, mask in self.masks.items():
                _weight(self.layers[name]).mul_(mask)

    def checkpoint(self) -> dict[str, torch.Tensor]:
        return copy.deepcopy(self.network.state_dict())

    def put_back(self, checkpoint: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(checkpoint)


def train(
    network: nn.Module,
    train_part: Part,
    validation: Part,
    training: Training,
    preprocessing: Preprocessing,
    progress: Callable[[float], None],
) -> Trained:
    """Fine-tunes `network` in place, puts the best checkpoint back and returns it with what was learned."""
    learner = TorchLearner(network, training)
    before, after = fit(learner, train_part, validation, training, preprocessing, progress)
    learner.optimizer.zero_grad(set_to_none=True)  # the network lives on, its gradients need not
    network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    grids = _harvest(learner.layers) if training.fake_bits else {}
    activations = {name: (r.low, r.high) for name, r in learner.ranges.items() if r.low is not None}
    return Trained(network, before, after, training.steps, grids, activations)


def _simulate(layers: dict[str, nn.Module], training: Training) -> dict[str, ActivationRange]:
    ranges = {}
    for name, module in layers.items() if training.fake_bits else ():
        grid = WeightGrid(
            module.weight, training.fake_bits, training.reduced_range and training.fake_bits == 8
        )
        parametrize.register_parametrization(module, "weight", grid, unsafe=True)
        if training.fake_activations:
            ranges[name] = ActivationRange()
            ranges[name].handle = module.register_forward_pre_hook(ranges[name])
    return ranges


def _harvest(layers: dict[str, nn.Module]) -> dict[str, Grid]:
    """Takes the simulation off again and returns each layer's grid; the weights stay as the rounded ones."""
    grids = {}
    for name, module in layers.items():
        parametrization = module.parametrizations.weight
        grid = parametrization[0]
        codes = grid.codes(parametrization.original).to(torch.int8)
        bits = 8 if grid.high > 7 else 4
        grids[name] = Grid(bits, codes.numpy(), grid.scale.detach().clamp(min=1e-8).numpy().copy())
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        module._forward_pre_hooks.clear()
        module.weight.requires_grad_(False)
    return grids


def _weight(module: nn.Module) -> torch.Tensor:
    return module.parametrizations.weight.original if parametrize.is_parametrized(module) else module.weight


def _optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimizer with two groups of parameters: weights, and learned step sizes."""
    grids = [p for n, p in network.named_parameters() if "parametrizations" in n and n.endswith("scale")]
    chosen = {id(p) for p in grids}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    groups = [{"params": rest, "weight_decay": WEIGHT_DECAY}, {"params": grids, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, fused=True)


def _tensor(inputs: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)


def as_logits(scores: torch.Tensor) -> torch.Tensor:
    """Returns logits [n, classes] of a network that ends in a softmax as well: the logarithm of its
    probabilities.
    """
    detached = scores.detach()
    if float(detached.min()) >= 0 and torch.allclose(detached.sum(1), torch.ones(len(scores)), atol=1e-3):
        return scores.clamp(min=1e-7).log()
    return scores


def _loss(
    scores: torch.Tensor, labels: torch.Tensor, wanted: torch.Tensor | None, training: Training
) -> torch.Tensor:
    scores, wanted = as_logits(scores), None if wanted is None else as_logits(wanted)
    hard = nn.functional.cross_entropy(scores, labels)
    if wanted is None or training.mix == 0:
        return hard
    t = training.temperature
    soft = nn.functional.kl_div(
        (scores / t).log_softmax(1), (wanted / t).log_softmax(1), log_target=True, reduction="batchmean"
    )
    return training.mix * t * t * soft + (1 - training.mix) * hard
