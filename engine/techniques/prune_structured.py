"""Structured pruning: whole channels are removed, so the network is smaller and faster on any device.

Importance of a channel: its group's L2 norm, or the first-order Taylor term of the loss (Molchanov et al.,
"Importance
Estimation for Neural Network Pruning", arXiv 1906.10771). Fragile layers, found one at a time, lose fewer
channels. What
is left is first made up for by least squares, then by fine-tuning.
"""

import numpy as np

from engine import memory
from engine.backends.protocol import Facts, Network
from engine.techniques import ptq_int8
from engine.techniques.job import NotApplicable
from engine.techniques.shared.reconstruct import DAMPING, reconstructed
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

RATIOS = (0.3, 0.5, 0.7)
SHARE = {"one-shot": 1 / 8, "iterative": 5 / 24}  # of the technique's time, for each of the three
STAGES = 3
RECONSTRUCTION_IMAGES = 512
SPARED = 0.35  # how much less than the target ratio the most fragile layer loses, and the sturdiest more
LEARNING_RATE = 1e-3
BOLD_LEARNING_RATE = 3e-3  # where a cut cost much: small steps do not come back from there in time
MUCH, LOOKED_AT = 0.05, 500  # validation accuracy, and the images that tell it
LITTLE, LITTLE_GAIN = "Removing channels saves only", 0.05
LOCKED = "These layers keep all their channels:"


def run(bench: Workbench) -> None:
    """Makes a one-shot (L2) and an iterative (Taylor) variant for each ratio."""
    for ratio in RATIOS:
        with bench.variant(f"prune_structured@{ratio}") as making:
            network = cut(bench, making, bench.network(), ratio, "l2", fragility(bench))
            trained = making.train(
                network,
                SHARE["one-shot"],
                "The channels that are left make up for those that went.",
                learning_rate(bench, network),
                teacher=bench.network(),
                mix=0.5,
            )
            making.export(trained.network)
            bench.keep(f"prune_structured@{ratio}", trained.network)
    for ratio in RATIOS:
        with bench.variant(f"prune_structured@{ratio},iterative") as making:
            trained = cut_in_stages(bench, making, bench.network(), ratio, SHARE["iterative"])
            making.export(trained)


def cut_in_stages(bench: Workbench, making: Making, network: Network, ratio: float, share: float) -> Network:
    """Removes channels in `STAGES` steps with a fine-tuning after each, the longest after the last; none
    follows one that leaves the accuracy at chance.
    """
    left = 1.0
    for stage in range(1, STAGES + 1):
        wanted = (1 - ratio) ** (stage / STAGES)
        network = cut(bench, making, network, 1 - wanted / left, "taylor", fragility(bench))
        left = wanted
        part = share * (0.5 if stage == STAGES else 0.5 / (STAGES - 1))
        trained = making.train(
            network,
            part,
            f"Stage {stage} of {STAGES}: adapt before more channels go.",
            learning_rate(bench, network),
            teacher=bench.network(),
            mix=0.5,
        )
        network = trained.network
        if stage < STAGES and bench.fall(trained.after):
            making.step("stop", "Its validation accuracy is at chance: more stages would not bring it back.")
            break
    return network


def fragility(bench: Workbench) -> dict[str, float]:
    """Returns 0 (sturdiest) … 1 (most fragile) by layer, ranked by the loss when half of it is pruned."""
    rows = {name: row for name, row in bench.sensitivity("prune").items() if name not in bench.facts.locked}
    ordered = sorted((name for name in rows), key=lambda name: rows[name].loss_increase)
    return {name: i / max(1, len(ordered) - 1) for i, name in enumerate(ordered)}


def layer_ratios(bench: Workbench, ratio: float, fragile: dict[str, float]) -> dict[str, float]:
    """Returns each inner layer's own ratio: around `ratio`, less for fragile layers and more for sturdy ones,
    so that
    about as many weights go as with one ratio for all."""
    inner = [
        layer
        for layer in bench.facts.layers
        if not layer.is_output and layer.kind in ("conv", "dense") and layer.name not in bench.facts.locked
    ]
    lean = {layer.name: SPARED * (1 - 2 * fragile.get(layer.name, 0.5)) for layer in inner}
    sizes = np.array([layer.weights for layer in inner], float)
    mean = float(np.average([lean[layer.name] for layer in inner], weights=sizes)) if inner else 0.0
    room = min(ratio, 1 - ratio)
    return {
        layer.name: float(np.clip(ratio + room * (lean[layer.name] - mean), 0.0, 0.97)) for layer in inner
    }


def cut(
    bench: Workbench,
    making: Making,
    network: Network,
    ratio: float,
    importance: str,
    fragile: dict[str, float],
    made: Network | None = None,
) -> Network:
    """Removes channels once and records how. `made`: what `without_channels` gave for the same, where a trial
    made it.
    """
    ratios = layer_ratios(bench, ratio, fragile)
    record(bench, making, ratios, importance, ratio=round(ratio, 4))
    left = removed(bench, network, ratios, importance, making.seed) if made is None else made
    note_gain(bench, making, left)
    return left


def note_gain(bench: Workbench, making: Making, left: Network) -> None:
    """Says so where hardly any work went with the channels. Raises NotApplicable where none of them went."""
    (macs, parameters), (fewer, smaller) = (bench.backend.cost(n) for n in (bench.network(), left))
    if (fewer, smaller) == (macs, parameters):
        reasons = "; ".join(dict.fromkeys(bench.facts.locked.values()))
        raise NotApplicable(f"no channel of it can go: {reasons or 'its layers have too few of them'}")
    making.notes[:] = [note for note in making.notes if not note.startswith(LITTLE)]
    if fewer > (1 - LITTLE_GAIN) * macs:
        making.note(
            f"{LITTLE} {1 - fewer / macs:.1%} of the multiplications, as few layers can lose channels: it is"
            " hardly faster than your model."
        )


def record(
    bench: Workbench, making: Making, ratios: dict[str, float], importance: str, **more: float
) -> None:
    """Records how channels are removed, by these shares of each layer's."""
    making.progress(0.05, "removing channels")
    making.step(
        "remove_channels",
        "Whole channels go, with all that is coupled to them; fragile layers lose fewer.",
        **more,
        importance=importance,
        layer_ratios={n: round(r, 4) for n, r in ratios.items()},
        seed=making.seed,
    )
    if bench.facts.locked and not any(note.startswith(LOCKED) for note in making.notes):
        reasons = "; ".join(dict.fromkeys(bench.facts.locked.values()))
        making.note(f"{LOCKED} {', '.join(bench.facts.locked)}. The reason: {reasons}.")
    making.step(
        "reconstruct",
        "The layers that read the lost channels are solved anew, by least squares, so that their outputs stay"
        " close.",
        images=min(RECONSTRUCTION_IMAGES, len(bench.data.train.images)),
        damping=DAMPING,
    )


def without_channels(
    bench: Workbench, network: Network, ratio: float, importance: str, fragile: dict[str, float], seed: int
) -> Network:
    """Removes channels once and makes up for them by least squares; trains and records nothing."""
    return removed(bench, network, layer_ratios(bench, ratio, fragile), importance, seed)


def removed(
    bench: Workbench, network: Network, ratios: dict[str, float], importance: str, seed: int
) -> Network:
    """Removes these shares of each layer's channels and makes up for them by least squares."""
    left = bench.backend.remove_channels(
        network, ratios, importance, bench.data.train, seed, bench.job.channel_multiple
    )
    memory.release()  # gradients and what the removal held, before the moments take their place
    return reconstructed(
        bench.backend, network, left, np.asarray(bench.data.train.images[:RECONSTRUCTION_IMAGES])
    )


def learning_rate(bench: Workbench, cut: Network) -> float:
    """Returns the learning rate that fits what a cut cost on the validation part."""

    def looked_at(network: Network) -> float:
        return bench.validation_accuracy(lambda images: bench.backend.logits(network, images), LOOKED_AT)

    before, after = looked_at(bench.network()), looked_at(cut)
    return BOLD_LEARNING_RATE if before - after > MUCH else LEARNING_RATE


def why_not(facts: Facts) -> str:
    """Channels must be followed through the graph."""
    return ptq_int8.why_not(facts) or facts.unprunable


TECHNIQUE = Technique(
    id="prune_structured",
    title="Structured pruning",
    precision="float32",
    trains=True,
    weight=3,
    needs=("sensitivity",),
    text="Removes whole channels: smaller and faster on every device.",
    variants=tuple(f"prune_structured@{r}" for r in RATIOS)
    + tuple(f"prune_structured@{r},iterative" for r in RATIOS),
    why_not=why_not,
    run=run,
    settings={str(r): f"{r:.0%} of the channels gone" for r in RATIOS}
    | {f"{r},iterative": f"{r:.0%} of the channels gone, step by step" for r in RATIOS},
)
