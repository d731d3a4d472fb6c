"""How much memory a run takes, and how much there is."""

import ctypes
import gc
from pathlib import Path

import psutil

from engine.errors import BadInput
from engine.frameworks import FRAMEWORKS
from engine.vocabulary import ModelFile

PARAMETER_BYTES = (
    48  # weights, gradient, two moments, best checkpoint, teacher, exported file and copies on the way
)
# what a pixel of a training image keeps in memory in the hungriest networks (densely connected ones)
PIXEL_BYTES = 2_500
RUNTIME_BYTES = 300_000_000  # of a process that has a runtime and no framework
# a parameter of an opened artifact: runtimes compute FP16 and INT4 in float (3.7 measured over all of
# VGG-11's)
LOADED_BYTES = 4
LEAST_AT_ONCE = 8  # images that go through a network together, however large they are
USUAL_PIXELS = 128 * 32 * 32  # of a training step, in the framework's base already


def needed_bytes(model: ModelFile) -> int:
    """Returns what the largest child of a run may take: a base for the framework, a share a parameter, and
    what the fewest images of a training step keep where they are large."""
    height, width, _ = model.input_shape
    larger = max(0, LEAST_AT_ONCE * height * width - USUAL_PIXELS)
    return FRAMEWORKS[model.framework].base_bytes + PARAMETER_BYTES * model.parameters + PIXEL_BYTES * larger


def lots(parameters: dict[str, int], room_bytes: int) -> list[list[str]]:
    """Splits artifacts, given how many parameters each has, into lots whose members can be open at the same
    time.

    The first artifact is in every lot, for the others to be compared with; a lot has one other at least.
    """
    first, *others = parameters
    room = room_bytes - RUNTIME_BYTES - LOADED_BYTES * parameters[first]
    return [
        [first, *lot] for lot in together({name: LOADED_BYTES * parameters[name] for name in others}, room)
    ] or [[first]]


def together(sizes: dict[str, int], room: int) -> list[list[str]]:
    """Splits names, in their order, into groups whose sizes add up to `room` at most; one name at least in
    each.
    """
    groups: list[list[str]] = []
    used = room
    for name, size in sizes.items():
        if not groups or used + size > room:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups


def free_bytes() -> int:
    """Returns what a new process may take: the machine's available memory or the container's, whichever is
    less.
    """
    free = int(psutil.virtual_memory().available)
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if allowed != "max":
            free = min(free, int(allowed) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no container, or one that does not tell
    return free


def check(model: ModelFile) -> None:
    """Compares free memory with what a run takes; raises BadInput with both figures when it is too little."""
    needed, free = needed_bytes(model), free_bytes()
    if free < needed:
        raise BadInput(
            f"This run needs up to {needed / 1e6:.0f} MB of memory and {free / 1e6:.0f} MB are free: "
            "close other programs, choose a smaller model, or run Edgewise on a larger machine."
        )


def release() -> None:
    """Gives what was freed back to the system: the C library keeps it otherwise, and a child that makes many
    variants grows.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of GNU's C library
    if trim is not None:
        trim(0)
