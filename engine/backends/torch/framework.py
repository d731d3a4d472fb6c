"""PyTorch networks: every primitive of `Framework` on torch modules."""

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import fx, nn

from engine.backends.images import images_at_once
from engine.backends.protocol import Facts, LayerInfo, Trained, Training
from engine.backends.torch import attention as torch_attention
from engine.backends.torch import channels as torch_channels
from engine.backends.torch import training as torch_training
from engine.backends.torch.tracing import folded
from engine.backends.torch.training import WEIGHTED
from engine.datasets import Part
from engine.device.preprocessing import preprocess
from engine.errors import BadInput
from engine.formats import open_network
from engine.vocabulary import ModelFile, Preprocessing

GRADIENT_SHARE = 0.25  # of the images that go through at once without gradients


class PyTorch:
    """See `Framework`. `cache` is a folder for exported graphs, `threads` what torch and ONNX Runtime may
    use.
    """

    def __init__(self, preprocessing: Preprocessing, cache: Path, threads: int = 1):
        self.preprocessing, self.cache, self.threads = preprocessing, cache, threads
        torch.set_num_threads(threads)
        torch.backends.mha.set_fastpath_enabled(False)  # an operator that no exporter knows
        p = preprocessing
        self.input_shape = (1 if p.color == "grey" else 3, p.height, p.width)

    # ---- opening and looking -------------------------------------------------------------------------------

    def load(self, model: ModelFile) -> nn.Module:
        network = open_network(model).eval().requires_grad_(False)
        return torch_attention.apart(network, torch.rand(self._example().shape))

    def facts(self, network: nn.Module) -> Facts:
        untraceable = torch_channels.why_untraceable(network)
        layers = self._layers(network)
        locked = {} if untraceable else self._locked(network)
        inner = [layer.name for layer in layers if not layer.is_output]
        every = (
            "it has no inner layer whose channels could go"
            if not inner
            else locked.get(inner[0], "")
            if set(inner) <= set(locked)
            else ""
        )
        return Facts(
            framework="pytorch",
            layers=tuple(layers),
            macs=sum(layer.macs for layer in layers),
            parameters=sum(p.numel() for p in network.parameters()),
            quantized=any("quantized" in type(m).__module__ for m in network.modules()),
            untraceable=untraceable,
            unprunable=untraceable or every,
            locked={} if every else locked,
        )

    def _locked(self, network: nn.Module) -> dict[str, str]:
        """Returns the layers that keep all their channels, with the reason; found out once a run, since names
        stay.
        """
        path = self.cache / "locked.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                json.dumps(torch_channels.locked_layers(network, self._example(), self._output(network)))
            )
        return json.loads(path.read_text())

    def _layers(self, network: nn.Module) -> list[LayerInfo]:
        modules = {module: name for name, module in network.named_modules() if isinstance(module, WEIGHTED)}
        found: dict[str, LayerInfo] = {}

        def look(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            name, shape = modules[module], tuple(module.weight.shape)
            positions = output[0].numel() // shape[0]
            found[name] = LayerInfo(name, kind_of(module), shape, int(np.prod(shape)) * positions)

        with hooked(modules, look), torch.inference_mode():
            network(self._example())
        order = list(found.values())
        if order:
            last = order.pop()
            order.append(LayerInfo(last.name, last.kind, last.shape, last.macs, is_output=True))
        return order

    def _output(self, network: nn.Module) -> str:
        return self._layers(network)[-1].name

    def _example(self, batch: int = 2) -> torch.Tensor:
        return torch.zeros(batch, *self.input_shape)

    def _inputs(self, images: np.ndarray, share: float = 1.0) -> Iterator[torch.Tensor]:
        spec, size = self.preprocessing.model_dump(), images_at_once(*self.input_shape[1:], share)
        for start in range(0, len(images), size):
            yield torch.from_numpy(preprocess(images[start : start + size], spec))

    def cost(self, network: nn.Module) -> tuple[int, int]:
        return sum(layer.macs for layer in self._layers(network)), sum(
            p.numel() for p in network.parameters()
        )

    def step_seconds(self, network: nn.Module, train: Part, batch: int, seconds: float) -> float:
        trial, times, deadline = copy.deepcopy(network), [], time.perf_counter() + seconds
        training = Training(steps=3, batch=batch, learning_rate=1e-5, seed=0, evaluations=0)
        while len(times) < 2 or time.perf_counter() < deadline:  # the first round warms up
            began = time.perf_counter()
            torch_training.train(trial, train, train, training, self.preprocessing, lambda fraction: None)
            times.append((time.perf_counter() - began) / training.steps)
        return min(times[1:])

    # ---- weights -------------------------------------------------------------------------------------------

    def weights(self, network: nn.Module) -> dict[str, np.ndarray]:
        return {
            name: module.weight.detach().numpy().copy()
            for name, module in network.named_modules()
            if isinstance(module, WEIGHTED)
        }

    def with_weights(
        self, network: nn.Module, weights: dict[str, np.ndarray], biases: dict[str, np.ndarray] | None = None
    ) -> nn.Module:
        changed = _shell(network, {}) if isinstance(network, fx.GraphModule) else copy.deepcopy(network)
        modules = dict(changed.named_modules())
        for name, array in weights.items():
            modules[name].weight = nn.Parameter(
                torch.from_numpy(np.ascontiguousarray(array, np.float32)), requires_grad=False
            )
        for name, array in (biases or {}).items():
            modules[name].bias = nn.Parameter(
                torch.from_numpy(np.ascontiguousarray(array, np.float32)), requires_grad=False
            )
        return changed

    def biases(self, network: nn.Module) -> dict[str, np.ndarray]:
        return {
            name: (
                module.bias.detach().numpy().copy()
                if module.bias is not None
                else np.zeros(len(module.weight), np.float32)
            )
            for name, module in network.named_modules()
            if isinstance(module, WEIGHTED)
        }

    def folded(self, network: nn.Module) -> nn.Module:
        if torch_channels.why_untraceable(network):
            return copy.deepcopy(network)
        return folded(network)

    # ---- running -------------------------------------------------------------------------------------------

    def logits(self, network: nn.Module, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([network(x).flatten(1).numpy() for x in self._inputs(images)])

    def input_grams(
        self, network: nn.Module, images: np.ndarray, layers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        return self._input_means(network, images, layers, lambda rows: rows.T @ rows)

    def input_means(self, network: nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
        return self._input_means(network, images, None, lambda rows: rows.sum(0))

    def _input_means(
        self,
        network: nn.Module,
        images: np.ndarray,
        layers: Sequence[str] | None,
        total: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, np.ndarray]:
        """Returns, by layer, the mean of what `total` sums over the rows of inputs that weights meet."""
        modules = {
            m: n
            for n, m in network.named_modules()
            if isinstance(m, WEIGHTED) and (layers is None or n in layers) and kind_of(m) in ("conv", "dense")
        }
        sums: dict[str, torch.Tensor] = {}
        counts: dict[str, int] = {}

        def look(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            x, name = _rows(module, inputs[0]), modules[module]
            found = total(x)
            sums[name] = (
                sums[name].add_(found) if name in sums else found.double()
            )  # in place: a wide layer's takes 100 MB
            counts[name] = counts.get(name, 0) + len(x)

        with hooked(modules, look), torch.inference_mode():
            for batch in self._inputs(images):
                for part in batch.split(32):
                    network(part)
        return {name: np.divide(sum_.numpy(), counts[name], out=sum_.numpy()) for name, sum_ in sums.items()}

    def input_rows(self, network: nn.Module, images: np.ndarray, layer: str) -> Iterator[np.ndarray]:
        module = network.get_submodule(layer)
        for batch in self._inputs(images):
            for part in batch.split(32):
                yield _rows(module, _input_of(network, module, part)).numpy()

    def train(
        self,
        network: nn.Module,
        train: Part,
        validation: Part,
        training: Training,
        progress: Callable[[float], None],
    ) -> Trained:
        start = self.folded(network) if training.fake_bits else copy.deepcopy(network)
        return torch_training.train(start, train, validation, training, self.preprocessing, progress)

    # ---- structure -----------------------------------------------------------------------------------------

    def remove_channels(
        self,
        network: nn.Module,
        ratios: dict[str, float],
        importance: str,
        part: Part | None,
        seed: int,
        multiple: int = 4,
    ) -> nn.Module:
        batches = None
        if importance == "taylor" and part is not None:
            chosen = np.random.default_rng(seed).permutation(len(part.labels))[:512]
            images = part.images[np.sort(chosen)]
            labels = torch.from_numpy(part.labels[np.sort(chosen)].astype(np.int64))
            inputs = list(self._inputs(images, GRADIENT_SHARE))
            batches = list(zip(inputs, labels.split(len(inputs[0])), strict=True))
        free = {name: ratio for name, ratio in ratios.items() if name not in self._locked(network)}
        return torch_channels.remove(
            network, free, importance, batches, self._example(), self._output(network), seed, multiple
        )

    def slim(self, network: nn.Module, width: float, seed: int, multiple: int = 4) -> nn.Module:
        locked = self._locked(network)
        ratios = {
            layer.name: 1 - width
            for layer in self._layers(network)
            if not layer.is_output and layer.name not in locked
        }
        slim = torch_channels.remove(
            network, ratios, "random", None, self._example(), self._output(network), seed, multiple
        )
        torch.manual_seed(seed)
        for module in slim.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return slim

    def save(self, network: nn.Module, folder: Path, name: str) -> None:
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")
        plan = {key: list(value.shape) for key, value in state.items()}
        (folder / f"{name}.json").write_text(json.dumps({"channel_plan": plan}))

    def restore(self, model: ModelFile, folder: Path, name: str) -> nn.Module:
        network = self.load(model)
        torch_channels.fit_to(network, load_file(folder / f"{name}.safetensors"))
        return network


def kind_of(module: nn.Module) -> str:
    """Returns the kind of a layer with weights, as LayerInfo has it."""
    if isinstance(module, nn.Linear):
        return "dense"
    if module.groups == 1:
        return "conv"
    return "depthwise" if module.groups == module.in_channels else "grouped"


def _shell(module: nn.Module, made: dict[nn.Module, nn.Module]) -> nn.Module:
    """Returns a copy of a traced network's modules that shares its tensors and its code; a deep copy of a
    network of hundreds of layers takes longer than to run it."""
    if module not in made:
        copied = made[module] = object.__new__(
            type(module)
        )  # GraphModule's own __new__ makes a class without its code
        copied.__dict__ = module.__dict__ | {
            "_parameters": dict(module._parameters),
            "_buffers": dict(module._buffers),
        }
        copied._modules = {name: child and _shell(child, made) for name, child in module._modules.items()}
    return made[module]


class _Seen(Exception):
    """A layer has its input, and the network need not go on."""


def _input_of(network: nn.Module, module: nn.Module, part: torch.Tensor) -> torch.Tensor:
    """Returns what a layer of the network is given when it first runs. It is hooked for this alone, because
    copies of a traced network share their hooks.
    """
    seen: list[torch.Tensor] = []

    def look(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        seen.append(inputs[0])
        raise _Seen

    with hooked({module: ""}, look), torch.inference_mode(), suppress(_Seen):
        network(part)
    return seen[0]


def _rows(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Returns all inputs that a layer's weights meet in its input: [n, d]."""
    if isinstance(module, nn.Conv2d):
        x = nn.functional.unfold(x, module.kernel_size, module.dilation, _padding(module), module.stride)
        x = x.transpose(1, 2)
    return x.reshape(-1, x.shape[-1])


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    if module.padding == "same":
        raise BadInput(
            "A convolution with padding 'same' can't be followed: export the model with explicit padding."
        )
    return (0, 0) if module.padding == "valid" else module.padding


@contextmanager
def hooked(modules: dict[nn.Module, str], look: Callable) -> Iterator[None]:
    """Calls `look(module, inputs, output)` whenever one of these modules runs."""
    handles = [module.register_forward_hook(look) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
