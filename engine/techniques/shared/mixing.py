"""Mixed precision that is checked as a whole: layers go up until the network with all choices together keeps
its accuracy.
"""

from collections.abc import Callable, Sequence

from engine.techniques.bench import Bench

NAMED = 6  # layers that a sentence names


def least(
    holds: Callable[[int], bool], first: int, last: int, in_haste: Callable[[], bool] = lambda: False
) -> int | None:
    """Returns the least step from `first` to `last` that holds, found by longer and longer strides and then
    by halving; None where not even the last does. A step is taken to hold where one before it does, but what
    is returned was tried itself. in_haste: where it says so, the last step is tried at once.
    """
    failed, step, stride = first - 1, first, 1
    while not holds(step):
        if step == last:
            return None
        failed, step, stride = step, last if in_haste() else min(step + stride, last), 2 * stride
    while step - failed > 1 and not in_haste():
        middle = (failed + step) // 2
        if holds(middle):
            step = middle
        else:
            failed = middle
    return step


def least_accuracy(bench: Bench) -> tuple[float, float] | None:
    """Returns the validation accuracy of the uploaded network and the least that the tolerance leaves of it;
    None without labelled images.
    """
    network = bench.network()
    had = bench.validation_accuracy(lambda images: bench.backend.logits(network, images))
    return None if had is None else (had, had - bench.job.tolerance)


def keeps(accuracy: float | None, wanted: tuple[float, float] | None) -> bool:
    """Tells whether an accuracy is within the tolerance; where nothing can be measured, whatever is tried is
    taken.
    """
    return wanted is None or (accuracy is not None and accuracy >= wanted[1] - 1e-9)


def named(layers: Sequence[str]) -> str:
    """Returns layers in words, the first few by name."""
    more = f" and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
    return ", ".join(layers[:NAMED]) + more
