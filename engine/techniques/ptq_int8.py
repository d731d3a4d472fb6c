"""Post-training INT8: weights and activations in 8 bits, ranges taken from calibration images, no training.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR
2018 (arXiv 1712.05877).
"""

from engine.backends.protocol import Facts, QuantSpec
from engine.techniques.technique import Technique
from engine.techniques.workbench import Workbench

RETRY_DROP = 0.003  # validation accuracy lost with plain ranges above which clipped ranges are tried


def run(bench: Workbench) -> None:
    """Makes the one variant: MinMax ranges, and the best of MinMax, percentile and entropy when MinMax
    loses.
    """
    with bench.variant("ptq_int8") as making:
        network = bench.network()
        making.step(
            "fold_batchnorm", "BatchNorm becomes part of the layer before it, as it will be deployed."
        )
        reduced = bench.needs_7_bits
        making.progress(0.2, "calibrating")
        best_rule = choose_ranges(bench, network, making, reduced)
        making.step(
            "quantize_static",
            "8-bit weights per channel, 8-bit activations, ranges from calibration images.",
            weights="int8 per channel",
            activations="uint8 per tensor",
            calibrate=best_rule,
            calibration_images=bench.calibration_images(),
            reduced_range=reduced,
            why_range=bench.range_reason,
        )
        making.export(network, QuantSpec("static_int8", calibrate=best_rule, reduced_range=reduced))


def choose_ranges(bench: Workbench, network, making, reduced: bool) -> str:
    """Returns the calibration rule that keeps most validation accuracy; others than MinMax only when it
    loses.
    """
    if bench.data.validation is None:
        return "minmax"
    wanted = bench.validation_accuracy(lambda images: bench.backend.logits(network, images))
    found = {}
    for rule in ("minmax", "percentile", "entropy"):
        making.progress(0.3 + 0.2 * len(found), f"calibrating, {rule}")
        found[rule] = bench.trial(network, QuantSpec("static_int8", calibrate=rule, reduced_range=reduced))
        if rule == "minmax" and found[rule] >= wanted - RETRY_DROP:
            return rule
    making.note(
        "Plain ranges lost accuracy, so clipped ranges were tried: "
        + ", ".join(f"{rule} {100 * value:.2f} %" for rule, value in found.items())
    )
    return max(found, key=found.get)


def why_not(facts: Facts) -> str:
    """INT8 needs a float network with layers that have integer kernels."""
    if facts.quantized:
        return "the model is quantized already"
    return "" if facts.layers else "it has no convolution or dense layer to quantize"


TECHNIQUE = Technique(
    id="ptq_int8",
    title="INT8 after training",
    precision="int8",
    trains=False,
    weight=0,
    needs=(),
    text="Stores weights and activations in 8 bits: about 4 times smaller, no training.",
    variants=("ptq_int8",),
    why_not=why_not,
    run=run,
    calibrates=True,
)
