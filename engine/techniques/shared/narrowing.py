"""The search for the narrowest network that still answers well: fewer channels, trained, again and again."""

import numpy as np

from engine.backends.protocol import Network
from engine.techniques import prune_structured
from engine.techniques.workbench import Making, Workbench

WIDTHS = (0.85, 0.7, 0.5, 0.35, 0.22, 0.14, 0.09, 0.06)  # shares of the channels that stay
FIRST = 4  # one of so many widths is tried first
# of the baseline's accuracy, kept by a cut before any training: a short one can bring back the rest
PROMISING = 0.95
NEAR = 0.005  # of accuracy; a first training that ends this near is worth a second one, of twice the time
LEARNING_RATE, SHARE = 2e-3, 0.1  # of a training, and of the technique's time
# on validation; a search that takes the boldest of many networks needs more than usual
JUDGED_IMAGES = (500, 10_000)
JUDGED_SHARE = 0.05  # of the technique's time, at most, for each look at them unless they are the fewest


def narrower(bench: Workbench, making: Making, floor: float) -> list[Network]:
    """Returns networks that keep the validation accuracy at `floor` or above, widest first, the one as it was
    among them.

    As bold a cut as promises to hold is tried at once, because a narrow network trains fast: where it holds,
    narrower ones follow from it, else wider ones from the start.
    """
    good = [(1.0, bench.network())]
    first, made = _boldest(bench, making, floor)
    for width in WIDTHS[first:]:
        if len(good) > 1 and too_late(bench, making, "narrower networks"):
            break
        network = _at_width(
            bench, making, good[-1][1], width, floor, made if width == WIDTHS[first] else None
        )
        if network is None:
            break
        good.append((width, network))
    for width in reversed(WIDTHS[:first]) if len(good) == 1 else ():
        if too_late(bench, making, "wider networks"):
            break
        network = _at_width(bench, making, good[0][1], width, floor)
        if network is not None:
            good.append((width, network))
            break
    return [network for _, network in good]


def _boldest(bench: Workbench, making: Making, floor: float) -> tuple[int, Network]:
    """Returns the place in WIDTHS to begin at, the narrowest that is promising before any training or else
    the widest, and the network of that width."""
    found: dict[float, float] = {}
    first, made = 0, None
    for place, width in enumerate(WIDTHS[:FIRST]):
        if found and too_late(bench, making, "bolder cuts"):
            break
        making.progress(0.05, f"trying {width:.0%} of the channels")
        network = prune_structured.without_channels(bench, bench.network(), 1 - width, "taylor", making.seed)
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
    start: Network,
    width: float,
    floor: float,
    made: Network | None = None,
) -> Network | None:
    """Cuts a network to `width` of the baseline's channels (`made`: one that is cut already) and trains it,
    twice if need be; None if it stays below."""
    network = prune_structured.cut(bench, making, start, 1 - width, "taylor", made)
    for chance in (1, 2):
        network = making.train(
            network,
            SHARE * chance,
            f"At {width:.0%} of the channels, chance {chance}: recover what the cut cost.",
            LEARNING_RATE,
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


def judged(bench: Workbench, network: Network) -> float:
    """Returns a network's accuracy on as many validation images as a search needs."""
    found = bench.validation_accuracy(
        lambda images: bench.backend.logits(network, images), judged_images(bench)
    )
    assert found is not None  # who searches was given labelled images
    return found


def judged_images(bench: Workbench) -> int:
    """Returns on how many validation images the search judges networks, by how fast this one is and by the
    time there is.
    """
    validation = bench.data.validation
    assert validation is not None
    affordable = np.clip(JUDGED_SHARE * bench.job.seconds * bench.facts.evaluate_images_per_s, *JUDGED_IMAGES)
    return min(int(affordable), len(validation.labels))


def too_late(bench: Workbench, making: Making, untried: str) -> bool:
    """Tells whether the time is used up, and notes what is left untried."""
    if bench.has_time():
        return False
    making.step("stop", "The time budget was used up before more could be tried.", untried=untried)
    return True
