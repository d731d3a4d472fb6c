"""Quantization-aware training: fine-tunes with rounding simulated, so that the weights learn to live with it.

Jacob et al. (arXiv 1712.05877) for the simulation; Esser et al., "Learned Step Size Quantization" (arXiv
1902.08153) for the scales, which are the very ones in the file.
"""

from engine.backends.protocol import Facts, QuantSpec
from engine.techniques import ptq_int8
from engine.techniques.ptq_int4 import SPEED_NOTE
from engine.techniques.technique import Technique
from engine.techniques.workbench import Workbench

LEARNING_RATE = {
    8: 5e-5,
    4: 3e-4,
}  # small: the network is trained already and only has to move within a grid step


def run(bench: Workbench) -> None:
    """Makes INT8 (weights and activations) and the INT4 setting (weights)."""
    with bench.variant("qat_int8") as making:
        reduced = bench.needs_7_bits
        trained = making.train(
            bench.network(),
            0.5,
            "Weights and activations learn with 8-bit rounding simulated.",
            LEARNING_RATE[8],
            teacher=bench.network(),
            mix=0.5,
            fake_bits=8,
            fake_activations=True,
            reduced_range=reduced,
        )
        making.step(
            "quantize_static",
            "The learned scales and ranges are written into the file.",
            reduced_range=reduced,
            why_range=bench.range_reason,
        )
        making.export(
            trained.network,
            QuantSpec(
                "static_int8", grids=trained.grids, activations=trained.activations, reduced_range=reduced
            ),
        )
    with bench.variant("qat_int8@int4") as making:
        trained = making.train(
            bench.network(),
            0.5,
            "Weights learn with 4-bit rounding simulated.",
            LEARNING_RATE[4],
            teacher=bench.network(),
            mix=0.5,
            fake_bits=4,
        )
        making.step("store_int4", "The learned 4-bit codes are packed two to a byte.", bits=4)
        making.export(trained.network, QuantSpec("weights", grids=trained.grids))
        making.note(SPEED_NOTE)


def why_not(facts: Facts) -> str:
    """Simulated rounding sits where BatchNorm was folded, so the layers must be traceable."""
    return ptq_int8.why_not(facts) or facts.untraceable


TECHNIQUE = Technique(
    id="qat_int8",
    title="Quantization-aware training",
    precision="int8",
    trains=True,
    weight=2,
    needs=(),
    text="Fine-tunes with 8-bit (and 4-bit) rounding simulated: the size of INT8 with the least loss.",
    variants=("qat_int8", "qat_int8@int4"),
    why_not=why_not,
    run=run,
    calibrates=True,
    settings={"int4": "INT4 weights"},
)
