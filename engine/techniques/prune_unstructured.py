"""Unstructured pruning: the weights of the whole network that count least become zero and stay zero; those
that are left make up for them, first by least squares, then by fine-tuning.

Han et al., "Learning both Weights and Connections" (arXiv 1506.02626); stages follow the cubic schedule
of Zhu and Gupta, "To prune, or not to prune" (arXiv 1710.01878).
"""

import numpy as np

from engine import memory
from engine.backends.protocol import Facts, Network
from engine.techniques import ptq_int8
from engine.techniques.shared.masks import cubic, global_masks, scores
from engine.techniques.shared.reconstruct import DAMPING, energies, without_weights
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

TARGETS = (0.3, 0.5, 0.7, 0.9)
ONE_SHOT_SHARE, ITERATIVE_SHARE = 0.1, 0.15  # of the technique's time, for each of the four
STAGES = 2  # on the way; each solves what is left anew, which takes a large network seconds
LEARNING_RATE = (
    2e-4  # few weights matter at low sparsity: a larger rate costs a short training more than the zeros do
)
IMAGES = 512  # that tell what inputs weights meet
IMPORTANCE = "share of its layer's squared output (LAMP)"
NOTE = (
    "Zeros only shrink a file that is compressed or stored sparsely; ordinary kernels multiply by them all"
    " the same, so it gains no speed. The package holds the coded file and its loader."
)


def run(bench: Workbench) -> None:
    """Makes a one-shot and an iterative variant for each target sparsity."""
    images = np.asarray(bench.data.labelled()[0].images[:IMAGES])
    inputs = energies(bench.backend, bench.network(), images)
    for target in TARGETS:
        with bench.variant(f"prune_unstructured@{target}") as making:
            _finish(bench, making, _in_stages(bench, making, [target], images, inputs, ONE_SHOT_SHARE))
    for target in TARGETS:
        with bench.variant(f"prune_unstructured@{target},iterative") as making:
            stages = [cubic(target, stage / STAGES) for stage in range(1, STAGES + 1)]
            _finish(bench, making, _in_stages(bench, making, stages, images, inputs, ITERATIVE_SHARE))


def _in_stages(
    bench: Workbench,
    making: Making,
    stages: list[float],
    images: np.ndarray,
    inputs: dict[str, np.ndarray],
    share: float,
) -> Network:
    """Returns the network with these shares of its weights at zero, one after the other; after each the rest
    is solved anew and trained.

    images: what outputs are to stay close on. inputs: their `energies`. share: of the technique's time.
    """
    network = bench.network()
    for sparsity in stages:
        network = _pruned(bench, making, network, sparsity, images, inputs, share / len(stages))
    return network


def _pruned(
    bench: Workbench,
    making: Making,
    network: Network,
    sparsity: float,
    images: np.ndarray,
    inputs: dict[str, np.ndarray],
    share: float,
) -> Network:
    making.step(
        "prune_weights",
        "The weights of all layers together that count least in their layer's output.",
        sparsity=round(sparsity, 4),
        importance=IMPORTANCE,
        images=len(images),
    )
    masks = global_masks(scores(bench.backend.weights(network), inputs), sparsity)
    making.step(
        "reconstruct",
        "The weights that are left are solved anew, by least squares, so that outputs stay close.",
        images=len(images),
        damping=DAMPING,
    )
    return making.train(
        without_weights(bench.backend, network, masks, images),
        share,
        "The weights that are left make up for those that went.",
        LEARNING_RATE,
        teacher=bench.network(),
        mix=0.5,
        masks=masks,
    ).network


def _finish(bench: Workbench, making: Making, network: Network) -> None:
    folded = bench.backend.folded(network)
    del (
        network
    )  # the caller holds none: a large network's copies are let go of before the coder makes its own
    weights = {
        name: w + 0.0 for name, w in bench.backend.weights(folded).items()
    }  # -0.0 becomes 0.0, which the coder knows as a zero
    zeros, total = sum(int((w == 0).sum()) for w in weights.values()), sum(w.size for w in weights.values())
    making.figures["sparsity"] = zeros / total
    making.figures["sparse_bytes"] = sparse_bytes(weights)
    folded = bench.backend.with_weights(folded, weights)
    del weights
    path = making.export(folded)
    del folded
    memory.release()  # traced networks hold on to themselves until they are looked for
    making.add_coded(
        path,
        "interleaved rANS over the floats' highest bytes",
        "A zero costs about a bit; the loader in the package gives back the very same file.",
    )
    making.note(NOTE)


def sparse_bytes(weights: dict[str, np.ndarray]) -> int:
    """Returns what the weights take as sparse tensors: a float32 and a 16-bit gap to the one before for each
    that is not zero, or dense where that is less."""
    return sum(min(6 * int(np.count_nonzero(w)), 4 * w.size) for w in weights.values())


def why_not(facts: Facts) -> str:
    """Masks are held on convolution and dense layers."""
    return ptq_int8.why_not(facts)


TECHNIQUE = Technique(
    id="prune_unstructured",
    title="Unstructured pruning",
    precision="float32",
    trains=True,
    weight=2,
    needs=(),
    text="Sets the smallest weights to zero: smaller when compressed, not faster.",
    variants=tuple(f"prune_unstructured@{t}" for t in TARGETS)
    + tuple(f"prune_unstructured@{t},iterative" for t in TARGETS),
    why_not=why_not,
    run=run,
    settings={str(r): f"{r:.0%} of the weights zero" for r in TARGETS}
    | {f"{r},iterative": f"{r:.0%} of the weights zero, step by step" for r in TARGETS},
)
