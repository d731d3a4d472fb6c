"""Groups: the rows of one device x runtime x precision x threads, which are fitted and checked together."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from estimator.fitting.roofline import row_weights

POOLED = {"litert", "armnn", "ncnn"}
NETWORKS, FAMILIES = 5, 2  # fewer can't be checked by leaving a family out
FOLDS = 5


@dataclass
class Group:
    """The rows of one device x runtime x precision x threads, and what was fitted to them."""

    name: str
    x: np.ndarray
    latency_ms: np.ndarray
    family: np.ndarray
    network: np.ndarray
    pool: str
    frozen: bool
    terms: tuple[str, ...] = ()
    coefficients: np.ndarray = field(default_factory=lambda: np.zeros(0))
    most_overhead_ms: float = 0.0
    held_out: np.ndarray = field(default_factory=lambda: np.zeros(0))
    random: np.ndarray = field(default_factory=lambda: np.zeros(0))
    base: float = 0.0
    slope: float = 0.0
    nested: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fold: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @cached_property
    def first(self) -> np.ndarray:
        """Index of one row of each network."""
        return np.unique(self.network, return_index=True)[1]

    @cached_property
    def typical_ms(self) -> np.ndarray:
        """Each network's median latency: what is fitted, so that a network counts once, however often it was
        measured.
        """
        return np.array([np.median(self.latency_ms[self.network == self.network[i]]) for i in self.first])

    def __post_init__(self) -> None:
        if not len(self.fold):
            self.fold = fold_of(self.network, np.unique(self.network))

    def labels(self, by: str) -> np.ndarray:
        """Each row's `family`, or its `fold`."""
        return self.family if by == "family" else self.fold

    @property
    def weights(self) -> np.ndarray:
        """So that a network counts once in what is said of rows."""
        return row_weights(self.network)

    @property
    def kind(self) -> str:
        """Groups that share what they think of forms: a runtime's, on processors also of one precision."""
        _, runtime, precision, _ = self.name.split("|")
        return f"{runtime}, {precision}" if runtime in POOLED else runtime

    @property
    def errors(self) -> np.ndarray:
        """Log errors on held-out families."""
        found: np.ndarray = np.log(self.held_out / self.latency_ms)
        return found


def groups_of(data: pd.DataFrame) -> list[Group]:
    """Every group that has enough networks with known layers, relatives on other devices included."""
    known = data[data.features.notna()]
    networks, found = np.unique(known.feat_key.to_numpy(str)), []
    for name, part in known.groupby("group", sort=True):
        if part.feat_key.nunique() >= NETWORKS and part.family.nunique() >= FAMILIES:
            found.append(
                Group(
                    name,
                    np.stack(part.features.to_list()),
                    part.latency_ms.to_numpy(),
                    part.family.to_numpy(str),
                    part.feat_key.to_numpy(str),
                    pool_of(name),
                    not bool(part.shippable.all()),
                    fold=fold_of(part.feat_key.to_numpy(str), networks),
                )
            )
    return found


def fold_of(network: np.ndarray, networks: np.ndarray) -> np.ndarray:
    """Which of FOLDS each row is in, by its network's place among all, sorted: the same in every group, and
    networks whose names are alike, as a family's are, spread over all folds.
    """
    found: np.ndarray = (np.searchsorted(networks, network) % FOLDS).astype(str)
    return found


def pool_of(name: str) -> str:
    """The relatives a group borrows from: any processor, float or integer, with one or several threads."""
    _, runtime, precision, threads = name.split("|")
    if runtime not in POOLED:
        return runtime
    return f"cpu|{'int8' if precision == 'int8' else 'float'}|{'one' if threads == '1' else 'many'}"
