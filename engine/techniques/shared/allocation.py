"""Which channels go where limits must be met: a step at a time, wherever a step saves most of what is still
too much for the least loss (Yang et al., "NetAdapt", arXiv 1804.03230).

A figure (milliseconds, bytes, MACs) is taken to be a sum over layers, each part shrinking with the layer's
outputs times its inputs; what the files themselves are predicted at corrects it, a few times.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 0.9  # of a group's channels, the share that may go
NEAR = 0.97  # of a limit; a prediction between that and the limit is close enough
ROUNDS = 6  # networks that are predicted until one is near
LEAST_LOSS = 0.02  # of the mean loss: what a layer costs at least that was found to lose nothing


@dataclass(frozen=True)
class Group:
    """Channels that can only go together.

    Attributes:
        layers: Those whose output channels they are.
        step: The share that goes at once.
        outputs, inputs: By layer of the network, the share of its outputs and inputs that go with all of
            them.
        loss: What half of them cost when they alone went.
    """

    layers: tuple[str, ...]
    step: float
    outputs: np.ndarray
    inputs: np.ndarray
    loss: float

    def as_json(self) -> dict[str, Any]:
        """Returns what `from_json` takes."""
        return vars(self) | {"outputs": self.outputs.tolist(), "inputs": self.inputs.tolist()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Group":
        """Makes a group of what `as_json` gave."""
        arrays = {name: np.array(kept[name]) for name in ("outputs", "inputs")}
        return cls(**kept | arrays | {"layers": tuple(kept["layers"])})


@dataclass(frozen=True)
class Shares:
    """By layer, the shares of a figure that shrink with its outputs and inputs (`own`), and with its outputs
    alone (`after`: activations, pooling). The rest stays, whatever goes.
    """

    own: np.ndarray
    after: np.ndarray

    def left(self, groups: list[Group], gone: np.ndarray) -> np.ndarray:
        """Returns what is left of the figure, 1 being all. gone: shares by group, float64 [..., groups]."""
        outputs = np.clip(1 - gone @ np.stack([group.outputs for group in groups]), 0, 1)
        inputs = np.clip(1 - gone @ np.stack([group.inputs for group in groups]), 0, 1)
        rest: float = 1 - self.own.sum() - self.after.sum()
        found: np.ndarray = rest + (outputs * inputs) @ self.own + outputs @ self.after
        return found


def allocated(groups: list[Group], shares: dict[str, Shares], most: dict[str, float]) -> np.ndarray | None:
    """Returns the share of each group that goes so that of each figure at most this is left, float64
    [groups]; None where not even all that may go is enough. With a looser `most` of one figure never more
    goes.
    """
    gone, steps = np.zeros(len(groups)), np.array([group.step for group in groups])
    losses = _weighed(np.array([group.loss for group in groups]))
    while True:
        left = {name: float(shares[name].left(groups, gone)) if groups else 1.0 for name in most}
        worst = max(most, key=lambda name: left[name] / most[name])
        if left[worst] <= most[worst]:
            return gone
        free = np.flatnonzero(gone + steps <= MOST + 1e-9)
        if not len(free):
            return None
        tried = gone + np.eye(len(groups))[free] * steps
        saved = left[worst] - shares[worst].left(groups, tried)
        rise = losses[free] * (_odds(tried[np.arange(len(free)), free]) - _odds(gone[free]))
        gone = tried[int(np.argmax(saved / rise))]


def spread(
    groups: list[Group], channels: np.ndarray, macs: Shares, share: float, gone: np.ndarray
) -> np.ndarray:
    """Returns the shares by group with which `share` of all these channels goes, as near as steps come to it:
    a step at a time, wherever channels and MACs (the geometric mean of what goes of both, or a network would
    be narrower and no faster) cost least loss. channels: by group. gone: the shares by group that went
    already.
    """
    gone, steps = gone.copy(), np.array([group.step for group in groups])
    losses = _weighed(np.array([group.loss for group in groups]))
    most = max(MOST, (1 + share) / 2)
    while True:
        waiting = share * channels.sum() - gone @ channels
        nearer = steps * channels <= 2 * waiting
        free = np.flatnonzero(nearer & (gone + steps <= most + 1e-9))
        if not len(free):
            return gone
        tried = gone + np.eye(len(groups))[free] * steps
        saved = np.maximum(macs.left(groups, gone) - macs.left(groups, tried), 1e-12)
        rise = losses[free] * (_odds(gone[free] + steps[free]) - _odds(gone[free]))
        gone = tried[int(np.argmax(np.sqrt(steps[free] * channels[free] * saved) / rise))]


def _weighed(losses: np.ndarray) -> np.ndarray:
    """Returns losses as they count against each other: their root, because training brings back more of a
    large loss than of a small one.
    """
    if not len(losses):
        return losses
    root: np.ndarray = np.sqrt(np.maximum(losses, LEAST_LOSS * max(float(losses.mean()), 1e-9)))
    return root


def _odds(gone: np.ndarray) -> np.ndarray:
    """What is lost grows without end as the last channels go; half of them count as 1."""
    return gone / (1 - gone)


def all_that_may_go(groups: list[Group]) -> np.ndarray:
    """Returns the share of each group that goes at most."""
    return np.array([np.floor(MOST / group.step + 1e-9) * group.step for group in groups])


def fitted(
    groups: list[Group],
    shares: dict[str, Shares],
    most: dict[str, float],
    predicted: Callable[[np.ndarray], dict[str, float]],
    has_time: Callable[[], bool] = lambda: True,
) -> tuple[np.ndarray, bool]:
    """Returns the shares by group with which each figure comes to at most `most` of what it was, as little
    going as was found, and whether it does: else they are all that may go.

    predicted: what is left of each figure, for the very network that shares by group give. has_time: where it
        says no, the first that is within `most` is taken.
    """
    best, scale, within, above = None, 1.0, 0.0, np.inf  # scales of `most` that came out within and above it
    for _ in range(ROUNDS):
        gone = allocated(groups, shares, {name: scale * value for name, value in most.items()})
        if gone is None or (best is not None and not has_time()):
            break
        found = predicted(gone)
        over = max(found[name] / most[name] for name in most)
        if np.isinf(over):  # it can't be predicted any more
            break
        if over <= 1:
            best, within = gone, max(within, scale)
        else:
            above = min(above, scale)
        if NEAR <= over <= 1 or not (gone.any() or over > 1):
            break
        scale = float(np.sqrt(within * above)) if within and above < np.inf else scale / over
    if best is not None:
        return best, True
    gone = all_that_may_go(groups)
    found = predicted(gone)
    return gone, all(found[name] <= most[name] for name in most)
