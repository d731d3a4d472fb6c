"""Deep compression (Han et al., arXiv 1510.00149) with channels removed first.

A network is made as narrow as the validation part allows, loses single weights, is trained onto 4-bit codes
and entropy-coded.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.backends.protocol import Network, QuantSpec, Trained
from engine.techniques.shared.masks import cubic, global_masks
from engine.techniques.shared.narrowing import judged, judged_images, narrower, too_late
from engine.techniques.workbench import Making, Workbench

ATTEMPTS = 2  # networks, from the narrowest up, that are tried on 4-bit codes before the whole one is
# of what may be lost, the share that a search uses: the boldest of many that hold held by luck too
SAFETY = 0.5
SPARSITY = 0.6  # of the weights …
SPARSE, SPARSER = 0.8, 0.88  # … and more where no channel went, in a training that is
LONG = 3  # times as long
ZEROS_LEARNING_RATE, CODES_LEARNING_RATE = 5e-4, 2e-4
ZEROS_SHARE, CODES_SHARE = 0.1, 0.04  # of the technique's time


class Coded(NamedTuple):
    """A pruned network in float, what became of it on 4-bit codes, and the validation accuracy that
    reached.
    """

    reached: float
    network: Network
    trained: Trained


def smallest(bench: Workbench, making: Making) -> None:
    """Makes the smallest file that keeps most of the validation accuracy that may not be lost."""
    floor = judged(bench, bench.network()) - max(
        SAFETY * bench.job.tolerance, 2 / judged_images(bench)
    )  # two images of a small set are noise
    networks = narrower(bench, making, floor)
    best: Coded | None = None
    for network in networks[:0:-1][:ATTEMPTS]:
        best = _better(best, _on_codes(bench, making, network, SPARSITY, floor))
        if best.reached >= floor or too_late(bench, making, "wider networks"):
            break
    else:
        best = _better(best, _whole(bench, making, networks[0], floor))
    _export_coded(bench, making, best.trained)


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
            if too_late(bench, making, f"{SPARSITY:.0%} zeros")
            else _better(found, _on_codes(bench, making, network, SPARSITY, floor))
        )
    if too_late(bench, making, f"{SPARSER:.0%} zeros"):
        return found
    sparser = _on_codes(bench, making, found.network, SPARSER, floor, LONG, SPARSE)
    return sparser if sparser.reached >= floor else found


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
    ramp = max(1, making.planned_steps(network, ZEROS_SHARE * longer) // 2)
    making.step(
        "prune_weights",
        "The smallest of the remaining weights go little by little.",
        sparsity=sparsity,
        importance="L1, global",
        schedule="cubic",
    )
    network = making.train(
        network,
        ZEROS_SHARE * longer,
        "The weights that are left make up for those that go.",
        ZEROS_LEARNING_RATE,
        teacher=bench.network(),
        mix=0.5,
        on_step=_ramp(before, sparsity, ramp),
        settle=ramp + 1,
    ).network
    trained = making.train(
        network,
        CODES_SHARE * longer,
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


def _export_coded(bench: Workbench, making: Making, trained: Trained) -> None:
    path = making.export(trained.network, QuantSpec("weights", grids=trained.grids))
    making.artifacts.clear()
    making.add_coded(
        path,
        "interleaved rANS, 14-bit frequencies per tensor",
        "Frequent codes get fewer bits; the loader in the package decodes to the very same file.",
    )
    making.note(
        "Stored entropy-coded; what is run and measured is the model it decodes to, which computes at float"
        " speed."
    )
