"""Channels of torch networks: can they be removed, removing them, and putting kept weights back.

Removal is torch-pruning's dependency graph (Fang et al., "DepGraph", CVPR 2023, arXiv 2301.12900): a channel
goes together with all that is coupled to it through additions, concatenations and normalisation. Where the
library can't draw that graph, the channels that nothing else sees can go all the same (torch_chains.py).
"""

import copy
import time
import warnings

import torch
import torch_pruning as tp
from torch import nn

from engine.backends.torch import chains as torch_chains
from engine.backends.torch.tracing import traced
from engine.backends.widths import UNITS, Unprunable, kept

MOST_STEPS = 1_000  # layers that one channel may be followed through before it is given up
MOST_COUPLED = 20_000  # channels that one of a layer may be coupled to
# the library measures no importance of some groups, and so leaves them whole; chance takes of all of them
TRIALS = (("random", 0.3), ("l2", 0.5))
TRIAL_S = 30  # seconds for finding out which layers' channels can be removed


class _Bounded(tp.dependency.group.Group):
    """A group of coupled channels that ends: the library follows a shortcut around a channel shuffle without
    end."""

    def add_dep(self, dep, idxs):
        if len(self) > MOST_STEPS or len(idxs) > MOST_COUPLED:
            raise Unprunable("its channels are coupled in a circle, and no end was found")
        super().add_dep(dep, idxs)


tp.dependency.graph.Group = _Bounded  # the library has no option for it


def why_untraceable(network: nn.Module) -> str:
    """Returns why torch.fx can't follow the network (so BatchNorm can't be folded), or ""."""
    if isinstance(network, torch.jit.ScriptModule):
        return "a TorchScript program can't be taken apart into layers"
    try:
        traced(network)
        return ""
    except Exception as error:  # whatever a foreign forward() raises, the answer is the same
        return f"its forward code can't be followed layer by layer ({type(error).__name__})"


def locked_layers(network: nn.Module, example: torch.Tensor, output: str) -> dict[str, str]:
    """Returns, by inner layer, why its channels can't be removed; layers that are not named can go, together
    too.

    Where the library leaves fewer layers free than there are chains whose channels nothing else sees, those
    are the free ones.
    """
    names = [
        name
        for name, m in network.named_modules()
        if isinstance(m, (nn.Conv2d, nn.Linear)) and name != output
    ]
    if not names or not (reason := _why_not(network, names, example, output)):
        return {}
    locked = _locked_by_library(network, names, reason, example, output)
    found, modules = torch_chains.chains(network), dict(network.named_modules())
    free = [name for name in names if name not in locked and getattr(modules[name], "groups", 1) == 1]
    if len(found) > len(free) and not _why_not(network, list(found), example, output, found):
        return {name: locked.get(name, reason) for name in names if name not in found}
    return locked


def _locked_by_library(
    network: nn.Module, names: list[str], reason: str, example: torch.Tensor, output: str
) -> dict[str, str]:
    """All are tried at once on a copy, then halves of what fails, so that one odd shortcut does not lock a
    whole network. Layers whose channels go together are tried together. What `TRIAL_S` seconds leave untried
    is locked."""
    try:
        waiting = [_coupled(network, names, example)]
    except Exception:  # the library can't draw its graph at all
        return dict.fromkeys(names, reason)
    locked, deadline = {}, time.monotonic() + TRIAL_S
    while waiting:
        groups = waiting.pop()
        together = [name for group in groups for name in group]
        late = time.monotonic() > deadline
        reason = (
            "there was no time to try whether its channels can be removed"
            if late
            else _why_not(network, together, example, output)
        )
        if reason and len(groups) > 1 and not late:
            half = len(groups) // 2
            waiting += [groups[half:], groups[:half]]
        elif reason:
            locked |= dict.fromkeys(together, reason)
    free = [name for name in names if name not in locked]
    if free and (reason := _why_not(network, free, example, output)):
        return dict.fromkeys(names, reason)
    return locked


def _coupled(network: nn.Module, names: list[str], example: torch.Tensor) -> list[list[str]]:
    """Returns the layers grouped by whose output channels go together, small groups first."""
    trial = copy.deepcopy(network).requires_grad_(True)
    graph = tp.DependencyGraph().build_dependency(trial, example)
    modules, groups = dict(trial.named_modules()), {}
    name_of = {modules[name]: name for name in names}
    for name in names:
        if any(name in group for group in groups.values()):
            continue
        whole = graph.get_pruning_group(
            modules[name], graph.get_pruner_of_module(modules[name]).prune_out_channels, [0]
        )
        groups[name] = {name} | {
            name_of[d.target.module]
            for d, _ in whole
            if d.target.module in name_of and graph.is_out_channel_pruning_fn(d.handler)
        }
    return sorted((sorted(group) for group in groups.values()), key=len)


def _why_not(
    network: nn.Module,
    names: list[str],
    example: torch.Tensor,
    output: str,
    chains: dict[str, torch_chains.Chain] | None = None,
) -> str:
    """Tries the removal, by the library or from these chains, and returns why it does not work, or ""."""
    try:
        for importance, ratio in TRIALS:
            wanted = _kept(network, dict.fromkeys(names, ratio), UNITS[-1])
            left = _removed(network, wanted, importance, None, example, output, 0, chains)
        went = sum(p.numel() for p in left.parameters()) < sum(p.numel() for p in network.parameters())
        return "" if went else "nothing went when it was tried"
    except Unprunable:
        return (
            "the network no longer runs once channels are removed: a shortcut or a reshape depends on their"
            " number"
        )
    except Exception:  # whatever a foreign network makes the library raise, the answer is the same
        return "its channels can't be followed through the graph"


def remove(
    network: nn.Module,
    ratios: dict[str, float],
    importance: str,
    batches: list | None,
    example: torch.Tensor,
    output: str,
    seed: int,
    multiple: int,
) -> nn.Module:
    """Returns a copy of the network without these shares of channels. `batches`: (inputs, labels) pairs for
    Taylor importance. multiple: as in `widths.unit`.

    Raises Unprunable when the network that is left does not run, and what the library raises where it can't
    follow the channels and they are not those of chains.
    """
    wanted = _kept(network, ratios, multiple)
    importance = importance if batches or importance != "taylor" else "l2"
    try:
        return _removed(network, wanted, importance, batches, example, output, seed)
    except Exception:  # what the library raises hangs on the network
        chains = torch_chains.chains(network)
        if not set(wanted) <= set(chains):
            raise
    return _removed(network, wanted, importance, batches, example, output, seed, chains)


def _removed(
    network: nn.Module,
    wanted: dict[str, int],
    importance: str,
    batches: list | None,
    example: torch.Tensor,
    output: str,
    seed: int,
    chains: dict[str, torch_chains.Chain] | None = None,
) -> nn.Module:
    left = copy.deepcopy(network).requires_grad_(True)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = _pruner(left, wanted, importance, example, output) if chains is None else None
        if importance == "taylor":
            _accumulate_gradients(left, batches)
        if pruner is not None:
            pruner.step()
        else:
            torch_chains.remove(left, chains, wanted, importance)
    left.zero_grad(set_to_none=True)
    left.requires_grad_(False)
    for module in left.modules():  # the library counts a layer twice that is coupled to itself
        _declare_sizes(module)
    try:
        with torch.inference_mode():
            left.eval()(example)
    except Exception as error:
        raise Unprunable(
            f"the network no longer runs once channels are removed ({str(error).splitlines()[0][:120]})"
        ) from None
    return left


def _pruner(
    network: nn.Module, wanted: dict[str, int], importance: str, example: torch.Tensor, output: str
) -> tp.pruner.BasePruner:
    modules = dict(network.named_modules())
    measure = {
        "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
        "taylor": lambda: tp.importance.GroupTaylorImportance(),
        "random": lambda: tp.importance.RandomImportance(),
    }[importance]()
    shares = {modules[name]: _share(modules[name].weight.shape[0], count) for name, count in wanted.items()}
    return tp.pruner.BasePruner(
        network,
        example,
        importance=measure,
        pruning_ratio=0.0,
        pruning_ratio_dict={module: share for module, share in shares.items() if share > 0},
        ignored_layers=[modules[output]],
    )


def _kept(network: nn.Module, ratios: dict[str, float], multiple: int) -> dict[str, int]:
    """Returns by layer how many channels should stay."""
    modules = dict(network.named_modules())
    channels = {name: modules[name].weight.shape[0] for name in ratios}
    widest = max(channels.values(), default=0)
    return {name: kept(count, ratios[name], multiple, widest) for name, count in channels.items()}


def _share(channels: int, kept: int) -> float:
    """Returns the share to ask the library for. It rounds what stays down, hence the half channel."""
    return 0.0 if kept >= channels else 1 - (kept + 0.5) / channels


def _accumulate_gradients(network: nn.Module, batches: list) -> None:
    network.eval()
    for inputs, labels in batches:
        nn.functional.cross_entropy(network(inputs).flatten(1), labels).backward()


def fit_to(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Gives a network the tensors of another of the same family, changing its layers' sizes to theirs, in
    place.
    """
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        for kind, own in (("parameter", module._parameters), ("buffer", module._buffers)):
            for key, _old in own.items():
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
