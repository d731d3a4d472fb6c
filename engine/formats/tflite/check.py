"""TFLite files checked before any runtime sees them: shapes, stored sizes, order, and what operators make."""

import math
from pathlib import Path

import numpy as np

from engine.errors import BadInput
from engine.formats.tflite.graph import ADVICE, INT4, KINDS, read
from engine.formats.tflite.sizes import gives_what_it_says

MAX_ACTIVATION = 30_000_000


def check(path: Path) -> None:
    """Parses the whole file and checks counts, shapes, stored sizes and operators. Raises BadInput."""
    graph = read(path)
    for tensor in graph.tensors:
        if any(size < 0 for size in tensor.shape) or math.prod(tensor.shape) > MAX_ACTIVATION * 2:
            raise BadInput(
                f"The tensor '{tensor.name[:60]}' of the TFLite file has the absurd shape"
                f" {list(tensor.shape)[:8]}: {ADVICE}"
            )
        if tensor.data is not None and tensor.kind in KINDS and not graph.has("DENSIFY"):
            expected = math.prod(tensor.shape) * np.dtype(KINDS[tensor.kind]).itemsize
            if len(tensor.data) != expected:
                raise BadInput(
                    f"The tensor '{tensor.name[:60]}' of the TFLite file has other values than its shape"
                    f" says: {ADVICE}"
                )
        if tensor.kind not in KINDS and tensor.kind != INT4:
            raise BadInput(f"The tensor '{tensor.name[:60]}' of the TFLite file holds no numbers: {ADVICE}")
    ready = {*graph.inputs, -1, *(i for i, tensor in enumerate(graph.tensors) if tensor.data is not None)}
    for op in graph.operators:
        if not set(op.inputs) <= ready or set(op.outputs) & ready:
            raise BadInput(
                f"The operator {op.name} of the TFLite file reads what is made later, or makes what is there"
                f" already: {ADVICE}"
            )
        ready |= set(op.outputs)
        if not gives_what_it_says(op, graph.tensors):
            raise BadInput(
                f"The operator {op.name} of the TFLite file makes something else than the file says, perhaps"
                f" without bound: {ADVICE}"
            )
