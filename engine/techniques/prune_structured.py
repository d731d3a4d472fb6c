"""Structured pruning: whole channels are removed, so the network is smaller and faster on any device.

Importance of a channel: its group's L2 norm, or the first-order Taylor term of the loss (Molchanov et al.,
"Importance Estimation for Neural Network Pruning", arXiv 1906.10771). How many go where is settled by what
half of each group costs alone: layers that do without theirs lose most, fragile ones few. What is left is
first made up for by least squares, then by fine-tuning.
"""

import numpy as np

from engine import memory
from engine.backends.protocol import Facts, Network
from engine.techniques import ptq_int8
from engine.techniques.job import NotApplicable
from engine.techniques.shared.allocation import Group, Shares, spread
from engine.techniques.shared.pricing import free_layers, groups_of
from engine.techniques.shared.reconstruct import DAMPING, reconstructed
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

RATIOS = (0.3, 0.5, 0.7)
SHARE = {"one-shot": 1 / 8, "iterative": 5 / 24}  # of the technique's time, for each of the three
STAGES = 3
RECONSTRUCTION_IMAGES = 512
LEARNING_RATE = 2e-4  # where a cut cost little: a short training at a larger one costs more than it brings
BOLD_LEARNING_RATE = 3e-3  # where a cut cost much: small steps do not come back from there in time
MUCH, LOOKED_AT = 0.2, 500  # validation accuracy, and the images that tell it
LITTLE, LITTLE_GAIN = "Removing channels saves only", 0.05
LOCKED = "These layers keep all their channels:"


def run(bench: Workbench) -> None:
    """Makes a one-shot (L2) and an iterative (Taylor) variant for each ratio."""
    for ratio in RATIOS:
        with bench.variant(f"prune_structured@{ratio}") as making:
            network = cut(bench, making, bench.network(), ratio, "l2")
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
    for stage in range(1, STAGES + 1):
        network = cut(bench, making, network, 1 - (1 - ratio) ** (stage / STAGES), "taylor")
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


def layer_ratios(bench: Workbench, network: Network, ratio: float) -> dict[str, float]:
    """Returns the share that each of a network's layers loses, so that of all channels of the uploaded one
    that can go `ratio` has gone: most where half of them cost least when they were tried.

    What goes together in a network of more groups than were tried is not known of all; what is not counts
    alone, by its sensitivity.
    """
    free, groups, layers = free_layers(bench.facts), groups_of(bench), bench.facts.layers
    tried = {name for group in groups for name in group.layers}
    rows = bench.sensitivity("prune")
    mean = float(np.mean([group.loss for group in groups])) if groups else 0.0
    for number, layer in enumerate(layers):
        if layer in free and layer.name not in tried:
            loss = max(0.0, rows[layer.name].loss_increase) if layer.name in rows else mean
            alone = np.eye(len(layers))[number]
            groups.append(Group((layer.name,), 1 / layer.shape[0], alone, 0 * alone, loss))
    now = {name: len(w) for name, w in bench.backend.weights(network).items()}
    was = {layer.name: layer.shape[0] for layer in layers}
    gone = np.array([1 - now[group.layers[0]] / was[group.layers[0]] for group in groups])
    outputs = np.array([layer.shape[0] for layer in layers])
    channels = np.array([group.outputs @ outputs for group in groups])
    macs = np.array([float(layer.macs) for layer in layers])
    shares = Shares(macs / max(macs.sum(), 1.0), 0 * macs)
    left = 1 - spread(groups, channels, shares, ratio, gone) if groups else gone
    return {
        name: float(np.clip(1 - share * was[name] / now[name], 0, 1))
        for group, share in zip(groups, left, strict=True)
        for name in group.layers
    }


def cut(
    bench: Workbench,
    making: Making,
    network: Network,
    ratio: float,
    importance: str,
    made: Network | None = None,
) -> Network:
    """Removes channels until `ratio` of the uploaded network's are gone, and records how. `made`: what
    `without_channels` gave for the same, where a trial made it.
    """
    ratios = layer_ratios(bench, network, ratio)
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
    saved = {"faster": 1 - fewer / max(macs, 1), "smaller": 1 - smaller / max(parameters, 1)}
    if hardly := [what for what, share in saved.items() if share < LITTLE_GAIN]:
        making.note(
            f"{LITTLE} {saved['faster']:.1%} of the multiplications and {saved['smaller']:.1%} of the"
            f" weights: it is hardly {' or '.join(hardly)} than your model."
        )


def record(
    bench: Workbench, making: Making, ratios: dict[str, float], importance: str, **more: float
) -> None:
    """Records how channels are removed, by these shares of each layer's."""
    making.progress(0.05, "removing channels")
    making.step(
        "remove_channels",
        "Whole channels go, with all that is coupled to them, most where the network does without them.",
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


def without_channels(bench: Workbench, network: Network, ratio: float, importance: str, seed: int) -> Network:
    """Removes channels as `cut` does and makes up for them by least squares; trains and records nothing."""
    return removed(bench, network, layer_ratios(bench, network, ratio), importance, seed)


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
    """Returns the learning rate that fits what a cut cost on the validation part: between the two, by
    factors.
    """

    def looked_at(network: Network) -> float:
        return bench.validation_accuracy(lambda images: bench.backend.logits(network, images), LOOKED_AT)

    before, after = looked_at(bench.network()), looked_at(cut)
    cost = float(np.clip(((before or 0.0) - (after or 0.0)) / MUCH, 0, 1))
    return float(LEARNING_RATE * (BOLD_LEARNING_RATE / LEARNING_RATE) ** cost)


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
