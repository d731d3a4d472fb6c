"""Hybrid: fewer channels and fewer bits together, down to the smallest file that still answers well.

`hybrid@R` removes channels, fine-tunes and quantizes to INT8; `hybrid@smallest` is
`shared/deep_compression.py`.
"""

from engine.backends.protocol import Facts, Network, QuantSpec
from engine.techniques import prune_structured, qat_int8
from engine.techniques.shared.deep_compression import smallest
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

RATIOS = (0.5, 0.7)
PTQ_LOSS = 0.003  # validation accuracy that INT8 without training may cost before it is trained
SHARE = 0.15  # of the technique's time, for each ratio


def run(bench: Workbench) -> None:
    """Makes the two INT8 variants and the smallest one."""
    for ratio in RATIOS:
        with bench.variant(f"hybrid@{ratio}") as making:
            network = _pruned(bench, making, ratio)
            _export_int8(bench, making, network)
    with bench.variant("hybrid@smallest") as making:
        smallest(bench, making)


def _pruned(bench: Workbench, making: Making, ratio: float) -> Network:
    kept = bench.kept(f"prune_structured@{ratio}")
    if kept is not None:
        making.step(
            "take_checkpoint",
            "The network that structured pruning left is used again.",
            variant=f"prune_structured@{ratio}",
        )
        return kept
    network = prune_structured.cut(bench, making, bench.network(), ratio, "l2")
    return making.train(
        network,
        SHARE / 2,
        "The channels that are left make up for those that went.",
        prune_structured.learning_rate(bench, network),
        teacher=bench.network(),
        mix=0.5,
    ).network


def _export_int8(bench: Workbench, making: Making, network: Network) -> None:
    reduced = bench.needs_7_bits
    plain = QuantSpec("static_int8", reduced_range=reduced)
    wanted = bench.validation_accuracy(lambda images: bench.backend.logits(network, images))
    found = bench.trial(network, plain)
    if found >= wanted - PTQ_LOSS:
        making.step(
            "quantize_static",
            "INT8 without training keeps the accuracy, so no training is spent on it.",
            validation_accuracy=round(found, 5),
            float_validation_accuracy=round(wanted, 5),
            reduced_range=reduced,
        )
        making.export(network, plain)
        return
    trained = making.train(
        network,
        SHARE / 2,
        "INT8 without training lost accuracy, so weights learn with rounding simulated.",
        qat_int8.LEARNING_RATE[8],
        teacher=bench.network(),
        mix=0.5,
        fake_bits=8,
        fake_activations=True,
        reduced_range=reduced,
    )
    making.step(
        "quantize_static", "The learned scales and ranges are written into the file.", reduced_range=reduced
    )
    making.export(
        trained.network,
        QuantSpec("static_int8", grids=trained.grids, activations=trained.activations, reduced_range=reduced),
    )


def why_not(facts: Facts) -> str:
    """Asks what structured pruning asks: channels that can be followed."""
    return prune_structured.why_not(facts)


TECHNIQUE = Technique(
    id="hybrid",
    title="Hybrid",
    precision="int8",
    trains=True,
    weight=6,
    needs=("sensitivity",),
    text=(
        "Removes channels, then quantizes; its smallest setting also prunes weights and entropy-codes the"
        " file."
    ),
    variants=(*tuple(f"hybrid@{r}" for r in RATIOS), "hybrid@smallest"),
    why_not=why_not,
    run=run,
    after=("prune_structured",),
    calibrates=True,
    searches=True,
    settings={str(r): f"{r:.0%} of the channels gone, INT8" for r in RATIOS}
    | {"smallest": "the smallest file"},
)
