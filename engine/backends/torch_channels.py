"""Channels of torch networks: can they be removed, removing them, and putting kept weights back.

Removal is torch-pruning's dependency graph (Fang et al., "DepGraph", CVPR 2023, arXiv 2301.12900): a channel goes
together with all that is coupled to it through additions, concatenations and normalisation.
"""

import copy
import warnings

import torch
import torch_pruning as tp
from torch import fx, nn

from engine.errors import EdgewiseError

ROUND_TO = 4  # channels are kept in multiples of a SIMD register's four floats wherever there are enough of them


class Unprunable(EdgewiseError):
    """Channels of this network can't be removed; the message says why."""


def why_untraceable(network: nn.Module) -> str:
    """Returns why torch.fx can't follow the network (so BatchNorm can't be folded), or ""."""
    if isinstance(network, torch.jit.ScriptModule):
        return "a TorchScript program can't be taken apart into layers"
    try:
        fx.symbolic_trace(network)
        return ""
    except Exception as error:  # whatever a foreign forward() raises, the answer is the same
        return f"its forward code can't be followed layer by layer ({type(error).__name__})"


def why_unprunable(network: nn.Module, example: torch.Tensor, output: str) -> str:
    """Tries the removal on a copy and returns why it does not work, or ""."""
    try:
        trial = copy.deepcopy(network)
        names = [name for name, m in trial.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and name != output]
        if not names:
            return "it has no inner layer whose channels could go"
        remove(trial, dict.fromkeys(names, 0.5), "l2", None, example, output, 0)
        return ""
    except Exception as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        return f"its channels can't be followed through the graph ({type(error).__name__}: {reason})"


def remove(network: nn.Module, ratios: dict[str, float], importance: str, batches: list | None, example: torch.Tensor,
           output: str, seed: int) -> nn.Module:
    """Removes channels in place and returns the network. `batches`: (inputs, labels) pairs for Taylor importance.

    Raises Unprunable when the network that is left does not run.
    """
    torch.manual_seed(seed)
    modules = dict(network.named_modules())
    network.requires_grad_(True)
    measure = {"l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
               "taylor": lambda: tp.importance.GroupTaylorImportance(),
               "random": lambda: tp.importance.RandomImportance()}[importance if batches or importance != "taylor" else "l2"]()
    widest = max(m.weight.shape[0] for m in modules.values() if isinstance(m, (nn.Conv2d, nn.Linear)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            network, example, importance=measure, pruning_ratio=0.0,
            pruning_ratio_dict={modules[name]: ratio for name, ratio in ratios.items() if ratio > 0},
            ignored_layers=[modules[output]], round_to=ROUND_TO if widest >= 32 else None)
        if batches and importance == "taylor":
            _accumulate_gradients(network, batches)
        pruner.step()
    network.zero_grad(set_to_none=True)
    network.requires_grad_(False)
    try:
        with torch.inference_mode():
            network.eval()(example)
    except Exception as error:
        raise Unprunable(f"the network no longer runs once channels are removed ({str(error).splitlines()[0][:120]})") from None
    return network


def _accumulate_gradients(network: nn.Module, batches: list) -> None:
    network.eval()
    for inputs, labels in batches:
        nn.functional.cross_entropy(network(inputs).flatten(1), labels).backward()


def fit_to(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Gives a network the tensors of another of the same family, changing its layers' sizes to theirs, in place."""
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        for kind, own in (("parameter", module._parameters), ("buffer", module._buffers)):
            for key, old in own.items():
                new = state.get(prefix + key)
                if new is not None:
                    own[key] = nn.Parameter(new, requires_grad=False) if kind == "parameter" else new
        _declare_sizes(module)


def _declare_sizes(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        old_out, per_group = module.out_channels, module.weight.shape[1]
        module.out_channels = module.weight.shape[0]
        if module.groups > 1 and module.groups == module.in_channels == old_out:
            module.groups = module.out_channels
        module.in_channels = per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.LayerNorm) and module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)
