"""Post-training INT4: weights packed two to a byte, arithmetic in float; pure, and with as many layers in
INT8 or float as the accuracy asks for.
"""

import numpy as np

from engine.backends.backend import Backend
from engine.backends.grid import Grid, dequantized, nearest_grid
from engine.backends.protocol import LayerInfo, Network, QuantSpec
from engine.techniques.job import NotApplicable
from engine.techniques.ptq_int8 import why_not
from engine.techniques.shared.mixing import keeps, least, least_accuracy, named
from engine.techniques.shared.rounding import corrected_biases, one_by_one, rounded
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

DEPTHWISE_SHARE = 0.1  # depthwise layers take INT8 where they hold no more than this share of the weights
MIXED_LOSS_SHARE = 0.7  # the mixed variant begins with INT8 for layers that cause this share of the loss …
MIXED_WEIGHT_SHARE = 0.25  # … as long as they hold no more than this share of the weights
# rounding layer by layer runs the network twice for each layer: how many images it looks at follows from what
# that costs and never from the machine's speed, so that every machine finds the same
WORK_MACS, FEWEST_IMAGES, MOST_IMAGES = 1e12, 32, 128
BYTES = {4: 0.5, 8: 1.0, 32: 4.0}  # of a weight
SPEED_NOTE = (
    "Runtimes have no fast INT4 kernels for convolutions: weights are widened as they are loaded or used, so"
    " it computes at float speed at best. What you gain is the smaller file, not time."
)


def run(bench: Workbench) -> None:
    """Makes the pure and the mixed variant."""
    layers = _Layers(bench)
    with bench.variant("ptq_int4") as making:
        layers.round(making)
        bits = layers.bits(len(layers.depthwise))
        making.export(*(layers.one_by_one(making, bits) or layers.choice(bits)))
        making.note(SPEED_NOTE)
    with bench.variant("ptq_int4@mixed") as making:
        layers.round(making)
        _mixed(bench, making, layers)
        making.note(SPEED_NOTE)


def _mixed(bench: Workbench, making: Making, layers: "_Layers") -> None:
    wanted, count = least_accuracy(bench), len(layers.order)

    def holds(step: int) -> bool:
        making.progress(0.7 + 0.2 * step / (2 * count), f"trying {min(step, count)} layers in INT8 or more")
        return keeps(bench.trial(*layers.choice(layers.bits(step))), wanted)

    best, step = None, least(holds, layers.begin, count, lambda: not bench.has_time())
    if step != layers.begin:  # it would cost bytes; rounding layer by layer costs none
        best = layers.one_by_one(making, layers.bits(layers.begin))
        if best is not None and keeps(bench.trial(*best), wanted):
            step = layers.begin
        else:
            best = None
    if step is None and count > 1:  # not even all of them in INT8
        step = least(holds, count + 1, 2 * count - 1, lambda: not bench.has_time())
    if step is None:
        raise NotApplicable("with any layer below float it loses more accuracy than is allowed")
    bits = layers.bits(step)
    int8, kept = ([name for name, b in bits.items() if b == wide] for wide in (8, 32))
    more = layers.bytes(bits) - layers.bytes(dict.fromkeys(bits, 4))
    making.step(
        "keep_fragile_layers",
        "INT8, and float where that is not enough, for the layers whose rounding loses most for each of their"
        " weights; as many as the network with all choices together needs to keep its accuracy.",
        int8_layers=int8,
        float_layers=kept,
        bytes_more=more,
        tried_from=layers.begin,
        tolerance=bench.job.tolerance,
    )
    making.export(*(best or layers.choice(bits)))
    told = f"INT8 for {named(int8)}" if int8 else ""
    told += ("; " if told else "") + f"float for {named(kept)}" if kept else ""
    making.note(f"{told}: {more:,} bytes more than with all weights in INT4.")


class _Layers:
    """A network's layers in the order in which they go up, rounded once for both variants.

    Attributes:
        order: Names. Depthwise layers come first; then those that lose most for each of their weights.
        begin: How many of them the mixed variant begins with in INT8.
    """

    def __init__(self, bench: Workbench):
        self.bench, self.folded = bench, bench.backend.folded(bench.network())
        self.sizes = {layer.name: layer.weights for layer in bench.facts.layers}
        self.depthwise = depthwise(bench.facts.layers)
        self.order, self.begin = ladder(bench, self.depthwise)
        self.four: dict[str, Grid] = {}
        self.biases: dict[str, np.ndarray] = {}
        self.worse = ""

    def bits(self, step: int) -> dict[str, int]:
        """Returns the bits of each layer at a step: the first `step` layers are in INT8; beyond the last
        layer, the first ones go on to float (32).
        """
        wide = {name: 8 if place < step else 4 for place, name in enumerate(self.order)}
        wide |= dict.fromkeys(self.order[: max(0, step - len(self.order))], 32)
        return {name: wide[name] for name in self.sizes}

    def bytes(self, bits: dict[str, int]) -> int:
        """Returns what the weights take."""
        return int(sum(BYTES[b] * self.sizes[name] for name, b in bits.items()))

    def round(self, making: Making) -> None:
        """Rounds all layers to 4 bits and finds their biases, where that is not done yet, and says so."""
        images = np.asarray(self.bench.data.calibration.images[: self.bench.calibration_images()])
        making.step(
            "round_weights",
            "Each column's rounding error is made up for by the columns after it (GPTQ); scales for the least"
            " square error of the outputs.",
            bits=4,
            int8_layers=self.depthwise,
            why_int8="depthwise layers hold few weights and lose most" if self.depthwise else "",
            granularity="per channel",
            calibration_images=len(images),
        )
        if not self.four:
            self.four = rounded(
                self.bench.backend,
                self.folded,
                images,
                list(self.sizes),
                lambda done: making.progress(0.6 * done, "rounding"),
            )
            self._correct(images)
        if self.worse:
            making.step("leave_biases", f"Correcting the biases was tried and taken back: {self.worse}.")
        else:
            making.step(
                "correct_biases", "Rounding shifts each channel's mean output; its bias takes the shift back."
            )

    def _correct(self, images: np.ndarray) -> None:
        bits = self.bits(len(self.depthwise))
        before, _ = self.choice(bits)
        self.biases = corrected_biases(self.bench.backend, self.folded, self.four, images)
        after, _ = self.choice(bits)
        if worse := further(self.bench.backend, self.folded, before, after, images):
            self.biases, self.worse = {}, worse

    def choice(self, bits: dict[str, int]) -> tuple[Network, QuantSpec]:
        """Returns the network with each layer on its grid of so many bits, and how to write it."""
        return self._on(self._grids(bits), {n: bias for n, bias in self.biases.items() if bits[n] == 4})

    def one_by_one(self, making: Making, bits: dict[str, int]) -> tuple[Network, QuantSpec] | None:
        """Returns the same with its 4-bit layers rounded one after the other, and says so; None where the
        network costs too much for that, or its answers don't come nearer to the original's.
        """
        facts, every = self.bench.facts, self.bench.data.calibration.images
        affordable = WORK_MACS / (2 * len(facts.layers) * max(1, facts.macs))
        count = int(min(affordable, MOST_IMAGES, len(every) // 2))
        if count < FEWEST_IMAGES:
            return None
        images, others = np.asarray(every[:count]), np.asarray(every[count : count + MOST_IMAGES])
        grids, biases = one_by_one(
            self.bench.backend,
            self.folded,
            self._grids(bits),
            images,
            lambda done: making.progress(0.3 + 0.4 * done, "rounding layer by layer"),
        )
        before, after = self.choice(bits), self._on(grids, biases)
        if worse := further(self.bench.backend, self.folded, before[0], after[0], others):
            making.step("leave_layers", f"Rounding layer by layer was tried and taken back: {worse}.")
            return None
        making.step(
            "round_layer_by_layer",
            "Each layer is solved for its own outputs from what the layers before it have become, so that it"
            " makes up for what they lost; then it is rounded, and its bias put right.",
            calibration_images=count,
        )
        return after

    def _grids(self, bits: dict[str, int]) -> dict[str, Grid]:
        weights = self.bench.backend.weights(self.folded)
        return {
            name: self.four[name] if b == 4 else nearest_grid(weights[name], 8)
            for name, b in bits.items()
            if b < 32
        }

    def _on(self, grids: dict[str, Grid], biases: dict[str, np.ndarray]) -> tuple[Network, QuantSpec]:
        snapped = {name: dequantized(grid) for name, grid in grids.items()}
        network = self.bench.backend.with_weights(self.folded, snapped, biases)
        return network, QuantSpec("weights", grids=grids)


def depthwise(layers: tuple[LayerInfo, ...]) -> list[str]:
    """Returns the depthwise layers, where INT8 for all of them costs next to nothing."""
    found = [layer for layer in layers if layer.kind == "depthwise"]
    share = sum(layer.weights for layer in found) / max(1, sum(layer.weights for layer in layers))
    return [layer.name for layer in found] if share <= DEPTHWISE_SHARE else []


def ladder(bench: Workbench, ahead: list[str]) -> tuple[list[str], int]:
    """Returns all layers in the order in which they go up, those of `ahead` first, and how many of them begin
    in INT8; at least one.
    """
    rows, layers = bench.sensitivity("int4"), bench.facts.layers
    sizes = {layer.name: layer.weights for layer in layers}
    if not rows:  # no labelled images: first and last layer are the usual suspects
        first = list(dict.fromkeys([*ahead, layers[0].name, layers[-1].name]))
        return first + sorted(set(sizes) - set(first), key=lambda name: (sizes[name], name)), len(first)
    lost = {name: max(rows[name].loss_increase, 0.0) if name in rows else 0.0 for name in sizes}
    total, allowed = sum(lost.values()), MIXED_WEIGHT_SHARE * sum(sizes.values())
    by_price = sorted(sizes, key=lambda name: (name not in ahead, -lost[name] / sizes[name], sizes[name]))
    kept: list[str] = []
    for name in by_price[: max(1, len(sizes) - 1)]:
        so_far, held = (sum(of[each] for each in kept) for of in (lost, sizes))
        if held + sizes[name] <= allowed and (name in ahead or so_far < MIXED_LOSS_SHARE * total or not kept):
            kept.append(name)
    kept = kept or [min(sizes, key=lambda name: sizes[name])]
    return kept + [name for name in by_price if name not in kept], len(kept)


def further(backend: Backend, original: Network, before: Network, after: Network, images: np.ndarray) -> str:
    """Tells in words where a step took the answers to these images away from the original network's, instead
    of nearer; an empty string where it did not.
    """
    wanted = backend.logits(original, images)
    had, has = (
        float(np.mean(np.square(backend.logits(network, images) - wanted))) for network in (before, after)
    )
    return "" if has <= had else f"the mean square error of the answers went from {had:.3g} to {has:.3g}"


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
    settings={"mixed": "fragile layers in INT8 or float"},
)
