"""Post-training INT4: weights packed two to a byte, arithmetic in float; pure, and with fragile layers kept
in INT8.
"""

from functools import partial
from typing import Literal

import numpy as np

from engine.backends.grid import Grid
from engine.backends.protocol import Network, QuantSpec
from engine.techniques.ptq_int8 import why_not
from engine.techniques.shared.rounding import rounded, snapped_to, with_corrected_biases
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

MIXED_LOSS_SHARE = 0.7  # INT8 goes to the layers that together cause this share of what INT4 loses …
MIXED_WEIGHT_SHARE = 0.25  # … as long as they hold no more than this share of the weights
MOST_LOST = 0.02  # a step that is there to gain accuracy and loses more than this is taken back
COMPARED = 500  # validation images that tell
SPEED_NOTE = (
    "Runtimes have no fast INT4 kernels for convolutions: weights are widened as they are loaded or used, so"
    " it computes at float speed at best. What you gain is the smaller file, not time."
)


def run(bench: Workbench) -> None:
    """Makes the pure and the mixed variant."""
    layers = [layer.name for layer in bench.facts.layers]
    packed: dict[str, Grid] = {}  # the mixed variant takes over what the pure one has rounded
    with bench.variant("ptq_int4") as making:
        _make(bench, making, dict.fromkeys(layers, 4), packed)
    with bench.variant("ptq_int4@mixed") as making:
        kept = fragile_layers(bench)
        making.step(
            "keep_fragile_layers",
            "INT8 for the layers that lose most in INT4, found by changing one at a time.",
            int8_layers=kept,
        )
        _make(bench, making, {name: 8 if name in kept else 4 for name in layers}, packed)


def fragile_layers(bench: Workbench) -> list[str]:
    """Returns the layers that stay in INT8, most fragile first; at least one where there are two or more."""
    rows = sorted(bench.sensitivity("int4").values(), key=lambda row: -row.loss_increase)
    sizes = {layer.name: layer.weights for layer in bench.facts.layers}
    if not rows:  # no labelled images: first and last layer are the usual suspects
        return list(dict.fromkeys([bench.facts.layers[0].name, bench.facts.layers[-1].name]))
    total, allowed = sum(max(row.loss_increase, 0) for row in rows), MIXED_WEIGHT_SHARE * sum(sizes.values())
    kept: list[str] = []
    lost, held = 0.0, 0
    for row in rows[: max(1, len(rows) - 1)]:
        if lost >= MIXED_LOSS_SHARE * total and kept:
            break
        if held + sizes[row.layer] <= allowed:
            kept.append(row.layer)
            lost, held = lost + max(row.loss_increase, 0), held + sizes[row.layer]
    return kept or [min(sizes, key=sizes.__getitem__)]


def _make(bench: Workbench, making: Making, bits: dict[str, Literal[4, 8]], packed: dict[str, Grid]) -> None:
    folded = bench.backend.folded(bench.network())
    images = np.asarray(bench.data.calibration.images[: bench.calibration_images()])
    making.step(
        "round_weights",
        "Each column's rounding error is made up for by the columns after it (GPTQ); scales for the least"
        " square error.",
        bits=4,
        int8_layers=[name for name, b in bits.items() if b == 8],
        granularity="per channel",
        calibration_images=len(images),
    )
    open_bits = {name: b for name, b in bits.items() if b == 8 or name not in packed}
    fresh = rounded(
        bench.backend, folded, images, open_bits, lambda done: making.progress(0.7 * done, "rounding")
    )
    packed.update({name: grid for name, grid in fresh.items() if grid.bits == 4})
    grids = {name: fresh.get(name) or packed[name] for name in bits}
    snapped = snapped_to(bench.backend, folded, grids)
    corrected = with_corrected_biases(bench.backend, folded, snapped, images)
    if worse := _worse(bench, snapped, corrected):
        making.step("leave_biases", f"Correcting the biases was tried and taken back: {worse}.")
        corrected = snapped
    else:
        making.step(
            "correct_biases",
            "Rounding shifts each channel's mean output; its bias takes the shift back.",
            sweeps=2,
        )
    making.progress(0.9, "writing")
    making.export(corrected, QuantSpec("weights", grids=grids))
    making.note(SPEED_NOTE)


def _worse(bench: Workbench, before: Network, after: Network) -> str:
    """Returns how much validation accuracy a step cost, in words, where it is more than its worth."""
    had, has = (
        bench.validation_accuracy(partial(bench.backend.logits, network), COMPARED)
        for network in (before, after)
    )
    if had is None or has is None or has > had - MOST_LOST:
        return ""
    return f"it took the validation accuracy from {had:.1%} to {has:.1%}"


TECHNIQUE = Technique(
    id="ptq_int4",
    title="INT4 after training",
    precision="int4",
    trains=False,
    weight=0,
    needs=("sensitivity",),
    text="Stores weights in 4 bits: about 7 times smaller, at float speed at best, no training.",
    variants=("ptq_int4", "ptq_int4@mixed"),
    why_not=why_not,
    run=run,
    searches=True,
    settings={"mixed": "fragile layers in INT8"},
)
