"""Dynamic INT8: weights in 8 bits in the file, activation ranges found anew for every image; needs no
calibration.
"""

from engine.backends.protocol import QuantSpec
from engine.techniques.ptq_int8 import why_not
from engine.techniques.technique import Technique
from engine.techniques.workbench import Workbench


def run(bench: Workbench) -> None:
    """Makes the one variant."""
    with bench.variant("dynamic_int8") as making:
        making.step(
            "quantize_dynamic",
            "8-bit weights; activation ranges are found at run time, which costs time for every layer.",
            weights="uint8 per tensor",
            activations="uint8 at run time",
        )
        making.export(bench.network(), QuantSpec("dynamic_int8"))
        making.note(
            "Finding the ranges for every image costs time: convolutions often run slower than in float."
        )


TECHNIQUE = Technique(
    id="dynamic_int8",
    title="INT8 weights, ranges at run time",
    precision="int8",
    trains=False,
    weight=0,
    needs=(),
    text="Stores weights in 8 bits and needs no calibration images; smaller, but often slower than float.",
    variants=("dynamic_int8",),
    why_not=why_not,
    run=run,
)
