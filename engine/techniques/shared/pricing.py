"""What a network costs on the run's device: predicted from the very file that it becomes, by the rules that
the run's limits are judged by.
"""

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine import memory
from engine.backends.protocol import Facts, LayerInfo, Network, QuantSpec
from engine.backends.widths import unit
from engine.judge.estimates import estimates_for
from engine.judge.limits import LIMITS
from engine.store.files import read_json, write_json
from engine.techniques.bench import Bench
from engine.techniques.shared.allocation import Group, Shares
from engine.techniques.shared.sensitivity import accuracy_and_loss, images_for
from engine.vocabulary import Estimate, Variant
from estimator.profile.graph import profile
from estimator.types import Profile

COSTS = ("max_latency_ms", "max_energy_mj", "max_memory_mb", "max_size_mb")  # that channels and bits can meet
MACS = "macs"  # what is aimed at where no time is predicted
PROBED = 48  # groups of channels that are tried alone, those of most MACs first
PROBE = 0.5
COPIES = 2  # of the weights, that a runtime holds
FEW_IMAGES = 8  # that calibrate a file of which only the cost is wanted


@dataclass(frozen=True)
class Priced:
    """One file: what is in it, and its prediction for the run's device."""

    profile: Profile
    variant: Variant
    device: str
    cautious: bool

    @property
    def estimate(self) -> Estimate:
        """The prediction, layer by layer where there is one."""
        return self.variant.estimates[self.device]

    def figure(self, name: str) -> float | None:
        """Returns what a limit is held against, or the MACs; None where it is not known."""
        if name == MACS:
            return float(self.profile.macs)
        return LIMITS[name].value(self.variant, self.device, self.cautious)

    def shares(self, name: str, layers: tuple[LayerInfo, ...]) -> Shares:
        """Returns how a figure is made up of the network's layers, matched to the file's by their MACs, in
        the order that they run in.
        """
        costs, total = self._costs(name)
        own, after = np.zeros(len(layers)), np.zeros(len(layers))
        waiting, last = list(range(len(layers))), None
        for layer, cost in zip(self.profile.layers, costs, strict=True):
            found = next((j for j in waiting if layer.macs and layers[j].macs == layer.macs), None)
            if found is not None:
                waiting.remove(found)
                own[found], last = cost, found
            elif last is not None:
                after[last] += cost
        if not own.any():  # a file of other operators: by what each layer computes
            own, after = np.array([float(layer.macs) for layer in layers]), after * 0
            total = max(own.sum(), 1.0)
        return Shares(own / total, after / total)

    def _costs(self, name: str) -> tuple[list[float], float]:
        layers = self.profile.layers
        if name == MACS:
            return [float(layer.macs) for layer in layers], max(float(self.profile.macs), 1.0)
        if name == "max_size_mb":
            return [float(layer.weight_bytes) for layer in layers], float(self.profile.size_bytes)
        if name == "max_memory_mb":
            weights = [float(COPIES * layer.weight_bytes) for layer in layers]
            return weights, max(1e6 * (self.estimate.memory_mb or 0.0), sum(weights), 1.0)
        times = [cost.ms for cost in self.estimate.layers[: len(layers)]]
        return times or [0.0] * len(layers), self.estimate.latency_ms or 1.0


def priced(bench: Bench, path: Path) -> Priced:
    """Returns what a written file costs."""
    job, found = bench.job, profile(path)
    calibrations = {} if job.calibration is None else {job.device: job.calibration}
    estimates = estimates_for(found, calibrations, [job.device], by_layer=True)
    alone = Variant(
        id="priced",
        technique=job.technique,
        status="done",
        size_bytes=path.stat().st_size,
        estimates=estimates,
    )
    return Priced(found, alone, job.device, job.cautious)


def price(bench: Bench, network: Network, spec: QuantSpec | None) -> Priced:
    """Returns what a network costs that is written as `spec` says; its weights don't matter. Of a network
    that is only tried nothing is kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        backend = copy.copy(bench.backend)
        if network is not bench.network():
            backend.cache = Path(folder)
        images = bench.data.calibration.images[:FEW_IMAGES] if spec else None
        return priced(bench, backend.export(network, spec, images, Path(folder) / "priced"))


def free_layers(facts: Facts) -> list[LayerInfo]:
    """Returns the layers whose channels can go."""
    return [
        layer
        for layer in facts.layers
        if not layer.is_output and layer.kind in ("conv", "dense") and layer.name not in facts.locked
    ]


def groups_of(bench: Bench) -> list[Group]:
    """Returns the channels of the uploaded network that can go, found out once a run. What goes together is
    told apart by taking half of one layer's, looking which other layers lose some, and what that costs on
    validation images; layers that there is no time for are not among them.
    """
    path = bench.folder / "cache" / "groups.json"
    kept = read_json(path)
    if kept is None:
        kept = [group.as_json() for group in _groups_of(bench)]
        write_json(path, kept)
    return [Group.from_json(group) for group in kept]


def _groups_of(bench: Bench) -> list[Group]:
    layers, multiple, free = bench.facts.layers, bench.job.channel_multiple, free_layers(bench.facts)
    widest, whole = max((layer.shape[0] for layer in free), default=0), _loss(bench, bench.network())
    found: list[Group] = []
    for layer in sorted(free, key=lambda layer: -layer.macs):
        if any(layer.name in group.layers for group in found):
            continue
        if len(found) == PROBED or not bench.has_time():
            break
        cut = bench.backend.remove_channels(bench.network(), {layer.name: PROBE}, "l2", None, 0, multiple)
        shapes = {name: array.shape for name, array in bench.backend.weights(cut).items()}
        gone = {info.name: _gone(info.shape, shapes[info.name]) for info in layers}
        if not (share := gone[layer.name][0]):  # it goes with another layer, which has its turn
            continue
        together = tuple(info.name for info in free if gone[info.name][0])
        loss = max(0.0, _loss(bench, cut) - whole)
        memory.release()
        found.append(
            Group(
                together,
                unit(layer.shape[0], multiple, widest) / layer.shape[0],
                np.array([gone[info.name][0] for info in layers]) / share,
                np.array([gone[info.name][1] for info in layers]) / share,
                loss,
            )
        )
    return found


def _loss(bench: Bench, network: Network) -> float:
    """Returns a network's mean cross-entropy on as many validation images as the sensitivity is found on."""
    validation, count = bench.data.labelled()[1], images_for(bench.facts)
    logits = bench.backend.logits(network, np.asarray(validation.images[:count]))
    return accuracy_and_loss(logits, validation.labels[:count])[1]


def _gone(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[float, float]:
    """Returns the shares of a layer's outputs and inputs that went."""
    return 1 - after[0] / before[0], 1 - after[1] / before[1]


def ratios_of(groups: list[Group], gone: np.ndarray) -> dict[str, float]:
    """Returns shares by group as shares by layer."""
    return {name: float(share) for group, share in zip(groups, gone, strict=True) for name in group.layers}
