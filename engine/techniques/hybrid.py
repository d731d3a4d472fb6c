"""Hybrid: fewer channels and fewer bits together, down to the smallest file that still answers well.

`hybrid@R` removes channels, fine-tunes and quantizes to INT8. `hybrid@smallest` follows Han et al., "Deep
Compression"
(arXiv 1510.00149), with channels removed first: prune channels as far as the validation part allows, prune
single
weights, train the rest onto 4-bit codes, entropy-code the file.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.backends.protocol import Facts, Network, QuantSpec, Trained
from engine.techniques import prune_structured, qat_int8
from engine.techniques.shared.encoding import encode
from engine.techniques.shared.masks import cubic, global_masks
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

RATIOS = (0.5, 0.7)
PTQ_LOSS = 0.003  # validation accuracy that INT8 without training may cost before it is trained
WIDTHS = (0.85, 0.7, 0.5, 0.35, 0.22, 0.14, 0.09, 0.06)  # shares of the channels that stay
FIRST = 4  # one of so many widths is tried first
PROMISING = (
    0.95  # of the baseline's accuracy, kept by a cut before any training: a short one can bring back the rest
)
NEAR = 0.005  # of accuracy; a first training that ends this near is worth a second one, of twice the time
WIDTH_LEARNING_RATE = 2e-3
ATTEMPTS = 2  # networks, from the narrowest up, that are tried on 4-bit codes before the whole one is
JUDGED_IMAGES = (
    500,
    10_000,
)  # on validation; a search that takes the boldest of many networks needs more than usual …
JUDGED_SHARE = 0.05  # of the technique's time, at most, for each look at them unless they are the fewest
# … and room: the share of what may be lost that it uses, because the boldest that holds held by luck too
SAFETY = 0.5
SPARSITY = 0.6  # of the weights …
SPARSE, SPARSER = 0.8, 0.88  # … and more where no channel went, in a training that is
LONG = 3  # times as long
ZEROS_LEARNING_RATE, CODES_LEARNING_RATE = 5e-4, 2e-4
SHARES = {"@R": 0.15, "width": 0.1, "zeros": 0.1, "codes": 0.04}


class Coded(NamedTuple):
    """A pruned network in float, what became of it on 4-bit codes, and the validation accuracy that
    reached.
    """

    reached: float
    network: Network
    trained: Trained


def run(bench: Workbench) -> None:
    """Makes the two INT8 variants and the smallest one."""
    for ratio in RATIOS:
        with bench.variant(f"hybrid@{ratio}") as making:
            network = _pruned(bench, making, ratio)
            _export_int8(bench, making, network)
    with bench.variant("hybrid@smallest") as making:
        _smallest(bench, making)


def _pruned(bench: Workbench, making: Making, ratio: float) -> Network:
    kept = bench.kept(f"prune_structured@{ratio}")
    if kept is not None:
        making.step(
            "take_checkpoint",
            "The network that structured pruning left is used again.",
            variant=f"prune_structured@{ratio}",
        )
        return kept
    network = prune_structured.cut(
        bench, making, bench.network(), ratio, "l2", prune_structured.fragility(bench)
    )
    return making.train(
        network,
        SHARES["@R"] / 2,
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
        SHARES["@R"] / 2,
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


def _smallest(bench: Workbench, making: Making) -> None:
    floor = judged(bench, bench.network()) - max(
        SAFETY * bench.job.tolerance, 2 / judged_images(bench)
    )  # two images of a small set are noise
    networks = _narrower(bench, making, floor)
    best: Coded | None = None
    for network in networks[:0:-1][:ATTEMPTS]:
        best = _better(best, _on_codes(bench, making, network, SPARSITY, floor))
        if best.reached >= floor or _too_late(bench, making, "wider networks"):
            break
    else:
        best = _better(best, _whole(bench, making, networks[0], floor))
    _export_coded(bench, making, best.trained)


def _too_late(bench: Workbench, making: Making, untried: str) -> bool:
    if bench.has_time():
        return False
    making.step("stop", "The time budget was used up before more could be tried.", untried=untried)
    return True


def _better(one: Coded | None, other: Coded) -> Coded:
    return other if one is None or other.reached > one.reached else one


def _whole(bench: Workbench, making: Making, network: Network, floor: float) -> Coded:
    """Returns the network with all its channels on codes: with many zeros, where they hold with still more,
    else with fewer.
    """
    found = _on_codes(bench, making, network, SPARSE, floor, LONG)
    if found.reached < floor:
        return (
            found
            if _too_late(bench, making, f"{SPARSITY:.0%} zeros")
            else _better(found, _on_codes(bench, making, network, SPARSITY, floor))
        )
    if _too_late(bench, making, f"{SPARSER:.0%} zeros"):
        return found
    sparser = _on_codes(bench, making, found.network, SPARSER, floor, LONG, SPARSE)
    return sparser if sparser.reached >= floor else found


def judged_images(bench: Workbench) -> int:
    """Returns on how many validation images the search judges networks, by how fast this one is and by the
    time there is.
    """
    affordable = np.clip(JUDGED_SHARE * bench.job.seconds * bench.facts.evaluate_images_per_s, *JUDGED_IMAGES)
    return min(int(affordable), len(bench.data.validation.labels))


def judged(bench: Workbench, network: Network) -> float:
    """Returns a network's accuracy on as many validation images as a search needs."""
    return bench.validation_accuracy(
        lambda images: bench.backend.logits(network, images), judged_images(bench)
    )


def _export_coded(bench: Workbench, making: Making, trained: Trained) -> None:
    path = making.export(trained.network, QuantSpec("weights", grids=trained.grids))
    encoded = path.with_suffix(".ewz")
    encoded.write_bytes(encode(path.read_bytes(), bench.backend.stored_tensors(path)))
    making.step(
        "entropy_code",
        "Frequent codes get fewer bits; the loader in the package decodes to the very same file.",
        coder="interleaved rANS, 14-bit frequencies per tensor",
        model_bytes=path.stat().st_size,
        coded_bytes=encoded.stat().st_size,
    )
    making.artifacts.clear()
    making.add(encoded, decoded=path)
    making.note(
        "Stored entropy-coded; what is run and measured is the model it decodes to, which computes at float"
        " speed."
    )


def _narrower(bench: Workbench, making: Making, floor: float) -> list[Network]:
    """Returns networks that keep the validation accuracy at `floor` or above, widest first, the one as it was
    among them.

    As bold a cut as promises to hold is tried at once, because a narrow network trains fast: where it holds,
    narrower
    ones follow from it, else wider ones from the start.
    """
    good = [(1.0, bench.network())]
    first, made = _boldest(bench, making, floor)
    for width in WIDTHS[first:]:
        if len(good) > 1 and _too_late(bench, making, "narrower networks"):
            break
        network = _at_width(bench, making, good[-1], width, floor, made if width == WIDTHS[first] else None)
        if network is None:
            break
        good.append((width, network))
    for width in reversed(WIDTHS[:first]) if len(good) == 1 else ():
        if _too_late(bench, making, "wider networks"):
            break
        network = _at_width(bench, making, good[0], width, floor)
        if network is not None:
            good.append((width, network))
            break
    return [network for _, network in good]


def _boldest(bench: Workbench, making: Making, floor: float) -> tuple[int, Network]:
    """Returns the place in WIDTHS to begin at, the narrowest that is promising before any training or else
    the widest, and
    the network of that width."""
    found, first, made = {}, 0, None
    for place, width in enumerate(WIDTHS[:FIRST]):
        if found and _too_late(bench, making, "bolder cuts"):
            break
        making.progress(0.05, f"trying {width:.0%} of the channels")
        network = prune_structured.without_channels(
            bench, bench.network(), 1 - width, "taylor", prune_structured.fragility(bench), making.seed
        )
        found[width] = judged(bench, network)
        promising = found[width] >= PROMISING * floor
        if promising or made is None:
            first, made = place, network
        if not promising:
            break
    making.step(
        "choose_width",
        "The boldest cut that keeps most of the accuracy before any training is where the search begins.",
        first_width=WIDTHS[first],
        untrained_validation_accuracy={str(width): round(value, 5) for width, value in found.items()},
    )
    return first, made


def _at_width(
    bench: Workbench,
    making: Making,
    start: tuple[float, Network],
    width: float,
    floor: float,
    made: Network | None = None,
) -> Network | None:
    """Cuts a network to `width` of the baseline's channels (`made`: one that is cut already) and trains it,
    twice if need
    be; None if it stays below."""
    network = prune_structured.cut(
        bench, making, start[1], 1 - width / start[0], "taylor", prune_structured.fragility(bench), made
    )
    for chance in (1, 2):
        network = making.train(
            network,
            SHARES["width"] * chance,
            f"At {width:.0%} of the channels, chance {chance}: recover what the cut cost.",
            WIDTH_LEARNING_RATE,
            teacher=bench.network(),
            mix=0.7,
        ).network
        reached = judged(bench, network)
        making.progress(0.5, f"{width:.0%} of the channels, validation {reached:.4f}")
        if reached >= floor:
            return network
        if reached < floor - NEAR:
            break
    making.step(
        "step_back",
        "At this width it loses more than allowed.",
        width=width,
        validation_accuracy=round(reached, 5),
        floor=round(floor, 5),
    )
    return None


def _on_codes(
    bench: Workbench,
    making: Making,
    network: Network,
    sparsity: float,
    floor: float,
    longer: float = 1.0,
    before: float = 0.0,
) -> Coded:
    """Prunes single weights (a share `before` is gone already), trains what is left, then trains it onto
    4-bit codes.

    Normalization helps the training between zeros, so it is folded for the codes only; `longer` stretches
    both trainings.
    """
    ramp = max(1, making.planned_steps(network, SHARES["zeros"] * longer) // 2)
    making.step(
        "prune_weights",
        "The smallest of the remaining weights go little by little.",
        sparsity=sparsity,
        importance="L1, global",
        schedule="cubic",
    )
    network = making.train(
        network,
        SHARES["zeros"] * longer,
        "The weights that are left make up for those that go.",
        ZEROS_LEARNING_RATE,
        teacher=bench.network(),
        mix=0.5,
        on_step=_ramp(before, sparsity, ramp),
        settle=ramp + 1,
    ).network
    trained = making.train(
        network,
        SHARES["codes"] * longer,
        "Weights learn with 4-bit rounding simulated; the zeros stay.",
        CODES_LEARNING_RATE,
        teacher=bench.network(),
        mix=0.5,
        fake_bits=4,
        on_step=_ramp(0, sparsity, 0),
        settle=1,
    )
    reached = judged(bench, trained.network)
    making.progress(0.8, f"4-bit codes, {sparsity:.0%} zeros, validation {reached:.4f}")
    if reached < floor:
        making.step(
            "step_back",
            "On 4-bit codes this network lost more than allowed.",
            validation_accuracy=round(reached, 5),
            floor=round(floor, 5),
        )
    return Coded(reached, network, trained)


def _ramp(
    before: float, sparsity: float, steps: int
) -> Callable[[int, dict[str, np.ndarray]], dict[str, np.ndarray] | None]:
    """Returns what gives the masks for a training step: from `before` up to `sparsity` within `steps`."""
    every = max(1, steps // 10)

    def masks(step: int, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        now = step <= steps and (step % every == 0 or step == steps)
        return (
            global_masks(weights, before + cubic(sparsity - before, step / steps if steps else 1.0))
            if now
            else None
        )

    return masks


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
    calibrates=True,
    searches=True,
)
