"""A model graph as plain data, format left behind: what readers make and what layers are counted from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from estimator.types import Precision

BITS: dict[str, int] = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}


class ProfileError(ValueError):
    """A file that can't be profiled; the message says why and is fit to be shown."""


@dataclass(frozen=True)
class Tensor:
    """One value of a graph. `bits` is its width in the file; `nonzero` is None for what is not a constant."""

    name: str
    shape: tuple[int, ...]
    precision: Precision
    bits: int
    constant: bool = False
    learned: bool = False
    nonzero: int | None = None

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Packed: two INT4 numbers a byte."""
        return (self.elements * self.bits + 7) // 8


@dataclass(frozen=True)
class Operator:
    """One node: its type as the file says it, the names of what it reads and writes, its attributes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """Operators in execution order and the tensors they name. `alias` maps folded tensors to what stands for
    them.
    """

    operators: list[Operator]
    tensors: dict[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    alias: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """Follows folded tensors to the one that is stored."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def tensor(self, name: str) -> Tensor | None:
        """The tensor that stands for a name, None where its shape is not known."""
        return self.tensors.get(self.resolve(name)) if name else None


def peak_activation_bytes(graph: Graph, operators: Sequence[Operator], views: frozenset[str]) -> int:
    """Returns the largest sum of activations alive at once, bytes, when the operators run in order.

    While an operator runs, its inputs, its outputs and all that is read later are alive; a graph input is
    alive from the start. Outputs of operators named in `views` (Reshape and its like) share their input's
    memory.
    """
    storage = dict(graph.alias)

    def root(name: str) -> str:
        while name in storage:
            name = storage[name]
        return name

    for operator in operators:
        if operator.op in views and operator.inputs and operator.inputs[0]:
            storage.update(
                {out: operator.inputs[0] for out in operator.outputs if out != root(operator.inputs[0])}
            )
    last = {root(name): len(operators) for name in graph.outputs}
    for step, operator in enumerate(operators):
        for name in (*operator.inputs, *operator.outputs):
            last[root(name)] = max(last.get(root(name), step), step)
    alive: dict[str, int] = {}
    peak = 0
    sources = {-1: graph.inputs, **{step: operator.outputs for step, operator in enumerate(operators)}}
    for step in range(-1, len(operators)):
        for name in map(root, filter(None, sources[step])):
            tensor = graph.tensors.get(name)
            if tensor and not tensor.constant and last.get(name, -1) >= step:
                alive[name] = tensor.size_bytes
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last[name] > step}
    return peak
