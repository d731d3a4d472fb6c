"""Fine-tuning of torch networks, in float or with simulated quantization.

Simulated quantization learns the step size of every output channel with the weights ("LSQ", Esser et al.,
arXiv
1902.08153), through torch's learnable fake-quantization; activations follow a moving range (Jacob et al.,
arXiv
1712.05877).
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from engine.backends.grid import Grid, best_scales
from engine.backends.images import images_at_once
from engine.backends.protocol import Trained, Training
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.vocabulary import Preprocessing
from models.augment import augment

EVALUATED_IMAGES = 1_000
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
            low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
            self.low = low if self.low is None else 0.95 * self.low + 0.05 * low
            self.high = high if self.high is None else 0.95 * self.high + 0.05 * high
        scale = max(self.high - self.low, 1e-6) / 255
        zero = int(np.clip(round(-self.low / scale), 0, 255))
        return (torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255), *inputs[1:])


def train(
    network: nn.Module,
    train_part: Part,
    validation: Part,
    training: Training,
    preprocessing: Preprocessing,
    progress: Callable[[float], None],
) -> Trained:
    """Fine-tunes `network` in place, puts the best checkpoint back and returns it with what was learned."""
    torch.manual_seed(training.seed)
    order = np.random.default_rng(training.seed)
    network.requires_grad_(True).to(memory_format=torch.channels_last)  # a fifth faster on processors
    layers = {name: module for name, module in network.named_modules() if isinstance(module, WEIGHTED)}
    ranges = _simulate(layers, training)
    masks = {name: torch.from_numpy(mask) for name, mask in (training.masks or {}).items()}
    _apply(masks, layers)
    before = best = _validate(network, validation, preprocessing) if training.evaluations else 0.0
    kept = copy.deepcopy(network.state_dict()) if training.evaluations and not training.settle else None
    optimizer, schedule = _optimizer(network, training)
    batches = _batches(train_part, training, preprocessing, order)
    check_at = {
        max(1, round(training.steps * (i + 1) / training.evaluations)) for i in range(training.evaluations)
    }
    for step in range(training.steps):
        if training.on_step and (
            new := training.on_step(step, {n: _weight(m).detach().numpy() for n, m in layers.items()})
        ):
            masks = {name: torch.from_numpy(mask) for name, mask in new.items()}
            _apply(masks, layers)
        network.train()
        inputs, labels, chosen = next(batches)
        wanted = (
            _answers(training, train_part, chosen, preprocessing) if training.teacher is not None else None
        )
        loss = _loss(network(inputs).flatten(1), labels, wanted, training)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        _apply(masks, layers)
        if step + 1 in check_at:
            progress((step + 1) / training.steps)
            now = _validate(network, validation, preprocessing)
            if step + 1 >= training.settle and (kept is None or now >= best):
                kept = None  # before the new one, or a large network would be here three times
                best, kept = now, copy.deepcopy(network.state_dict())
    optimizer.zero_grad(set_to_none=True)  # the trained network goes on living, its gradients need not
    if kept is not None:
        network.load_state_dict(kept)
    network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    grids = _harvest(layers) if training.fake_bits else {}
    activations = {name: (r.low, r.high) for name, r in ranges.items()}
    return Trained(network, before, best, training.steps, grids, activations)


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


def _apply(masks: dict[str, torch.Tensor], layers: dict[str, nn.Module]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            _weight(layers[name]).mul_(mask)


def _optimizer(network: nn.Module, training: Training) -> tuple:
    grids = [p for n, p in network.named_parameters() if "parametrizations" in n and n.endswith("scale")]
    chosen = {id(p) for p in grids}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    optimizer = torch.optim.AdamW(
        [
            {"params": rest, "weight_decay": 1e-4},
            {"params": grids, "lr": training.learning_rate * 0.1, "weight_decay": 0.0},
        ],
        lr=training.learning_rate,
        fused=True,
    )
    warm = max(1, training.steps // 20)

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, training.steps - warm)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def _batches(part: Part, training: Training, preprocessing: Preprocessing, order: np.random.Generator):
    spec, count = preprocessing.model_dump(), len(part.labels)
    flips = preprocessing.color != "grey"
    while True:
        shuffled = order.permutation(count)
        for start in range(0, count - training.batch + 1, training.batch):
            chosen = np.sort(shuffled[start : start + training.batch])
            images = augment(np.asarray(part.images[chosen]), order, flips)
            yield _tensor(images, spec), torch.from_numpy(part.labels[chosen].astype(np.int64)), chosen


def _tensor(images: np.ndarray, spec: dict) -> torch.Tensor:
    return torch.from_numpy(preprocess(images, spec)).contiguous(memory_format=torch.channels_last)


def _answers(
    training: Training, part: Part, chosen: np.ndarray, preprocessing: Preprocessing
) -> torch.Tensor:
    """Returns the teacher's logits for these images unshifted, from memory where they were asked for
    before.
    """
    known = (
        training.answers
        if training.answers is not None
        else np.full((len(part.labels), 1), np.nan, np.float32)
    )
    rows = known[chosen]
    missing = np.isnan(rows[:, 0])
    if missing.any():
        images = np.asarray(part.images[chosen[missing]])
        with torch.inference_mode():
            fresh = (
                training.teacher(torch.from_numpy(preprocess(images, preprocessing.model_dump())))
                .flatten(1)
                .numpy()
            )
        if training.answers is None:
            return torch.from_numpy(fresh.copy())
        known[chosen[missing]] = rows[missing] = fresh
    return torch.from_numpy(np.ascontiguousarray(rows))


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


def _validate(network: nn.Module, validation: Part, preprocessing: Preprocessing) -> float:
    network.eval()
    spec, right = preprocessing.model_dump(), 0
    images, labels = validation.images[:EVALUATED_IMAGES], validation.labels[:EVALUATED_IMAGES]
    size = images_at_once(preprocessing.height, preprocessing.width)
    with torch.inference_mode():
        for start in range(0, len(labels), size):
            scores = network(_tensor(images[start : start + size], spec)).flatten(1)
            right += int((scores.argmax(1).numpy() == labels[start : start + size]).sum())
    return right / len(labels)
