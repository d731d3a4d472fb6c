"""FP16: weights stored in 16-bit floating point, half the bytes and practically the same answers."""

from engine.backends.protocol import QuantSpec
from engine.techniques.ptq_int8 import why_not
from engine.techniques.technique import Technique
from engine.techniques.workbench import Workbench


def run(bench: Workbench) -> None:
    """Makes the one variant."""
    with bench.variant("fp16") as making:
        making.step(
            "store_fp16",
            "16-bit floats hold three decimal digits, more than a trained network needs.",
            weights="float16",
        )
        making.export(bench.network(), QuantSpec("fp16"))
        making.note(
            "Processors without FP16 arithmetic widen the weights at load and compute in float32: smaller"
            " file, same speed."
        )


TECHNIQUE = Technique(
    id="fp16",
    title="FP16 weights",
    precision="float16",
    trains=False,
    weight=0,
    needs=(),
    text="Stores weights in 16-bit floats: half the size, practically the same accuracy.",
    variants=("fp16",),
    why_not=why_not,
    run=run,
)
