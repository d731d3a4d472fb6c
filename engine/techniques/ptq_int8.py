"""Post-training INT8: weights and activations in 8 bits, ranges taken from calibration images, no training;
throughout, and with layers in float where that loses too much.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018 (arXiv 1712.05877).
"""

from dataclasses import replace

import numpy as np

from engine.backends.protocol import Facts, Network, QuantSpec
from engine.techniques.job import NotApplicable
from engine.techniques.shared.mixing import keeps, least, least_accuracy, named
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

PARTS = 8  # of a network, each tried alone: every layer alone would take minutes
RETRY_DROP = 0.003  # validation accuracy lost with plain ranges above which clipped ranges are tried


def run(bench: Workbench) -> None:
    """Makes the plain variant: MinMax ranges, and the best of MinMax, percentile and entropy when MinMax
    loses; and a mixed one where the plain one loses more than the tolerance.
    """
    network, spec = bench.network(), QuantSpec("static_int8", reduced_range=bench.needs_7_bits)
    with bench.variant("ptq_int8") as plain:
        plain.step("fold_batchnorm", "BatchNorm becomes part of the layer before it, as it will be deployed.")
        plain.progress(0.2, "calibrating")
        spec = replace(spec, calibrate=choose_ranges(bench, network, plain, spec.reduced_range))
        _state(bench, plain, spec)
        plain.export(network, spec)
    wanted = least_accuracy(bench)
    if wanted is None or plain.validation is None or keeps(plain.validation, wanted):
        return
    with bench.variant("ptq_int8@mixed") as making:
        spec = replace(spec, floats=in_float(bench, making, network, spec, wanted))
        _state(bench, making, spec)
        making.export(network, spec)


def _state(bench: Workbench, making: Making, spec: QuantSpec) -> None:
    making.step(
        "quantize_static",
        "8-bit weights per channel, 8-bit activations, ranges from calibration images.",
        weights="int8 per channel",
        activations="uint8 per tensor",
        calibrate=spec.calibrate,
        calibration_images=bench.calibration_images(),
        reduced_range=spec.reduced_range,
        why_range=bench.range_reason,
        float_layers=sorted(spec.floats),
    )


def in_float(
    bench: Workbench, making: Making, network: Network, spec: QuantSpec, wanted: tuple[float, float]
) -> frozenset[str]:
    """Returns the layers that stay in float, as few as keep the validation accuracy within the tolerance,
    those first that lose most for each of their weights. Raises NotApplicable where all would have to.
    """
    sizes = {layer.name: layer.weights for layer in bench.facts.layers}
    parts = [[str(name) for name in part] for part in np.array_split(list(sizes), min(PARTS, len(sizes)))]
    lost = []
    for number, part in enumerate(parts):  # a part at a time in INT8, the rest in float
        making.progress(0.6 * number / len(parts), f"only {part[0]} … {part[-1]} in INT8")
        alone = (
            bench.trial(network, replace(spec, floats=frozenset(sizes) - set(part)))
            if bench.has_time()
            else None
        )
        weights = sum(sizes[name] for name in part)
        lost.append(np.inf if alone is None else (wanted[0] - alone) / weights)  # what is unknown goes first
    order = [parts[i] for i in np.argsort(-np.array(lost), kind="stable")]

    def kept(step: int) -> frozenset[str]:
        return frozenset(name for part in order[:step] for name in part)

    step = least(
        lambda step: keeps(bench.trial(network, replace(spec, floats=kept(step))), wanted),
        1,
        max(1, len(order) - 1),
        lambda: not bench.has_time(),
    )
    if step is None or step == len(order):
        raise NotApplicable("with any part of it in INT8 it loses more accuracy than is allowed")
    chosen = [name for name in sizes if name in kept(step)]
    more = 3 * sum(sizes[name] for name in chosen)
    making.step(
        "keep_in_float",
        "INT8 throughout loses more than the tolerance: these layers lose most for each of their weights.",
        float_layers=chosen,
        bytes_more=more,
        tolerance=bench.job.tolerance,
    )
    making.note(f"Float for {named(chosen)}: {more:,} bytes more than INT8 throughout.")
    return kept(step)


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
    spare=("ptq_int8@mixed",),
    why_not=why_not,
    run=run,
    calibrates=True,
    settings={"mixed": "fragile layers in float"},
)
