"""What a TFLite operator makes of its inputs' sizes, against what the file states: a runtime believes the
operator, and allocates.
"""

import math

import numpy as np

from engine.formats.tflite.graph import Operator, Tensor

KEEPING = (
    "RESHAPE",
    "EXPAND_DIMS",
    "SQUEEZE",
    "DEPTH_TO_SPACE",
    "SPACE_TO_DEPTH",
    "TRANSPOSE",
    "CAST",
    "QUANTIZE",
    "DEQUANTIZE",
)
ELEMENTWISE = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE")
PLACE_OF_SIZE = {
    "PAD": 1,
    "PADV2": 1,
    "MIRROR_PAD": 1,
    "RESIZE_BILINEAR": 1,
    "RESIZE_NEAREST_NEIGHBOR": 1,
    "TRANSPOSE_CONV": 0,
}
WHOLE = (2, 4)  # 32 and 64 bits, as the schema numbers them


def gives_what_it_says(op: Operator, tensors: list[Tensor]) -> bool:
    """Tells whether an operator that could enlarge its input makes the shape that the file states, which is
    bounded.
    """
    given = [tensors[i] for i in op.inputs if i >= 0]
    said = tensors[op.outputs[0]].shape if op.outputs else ()
    if op.name in KEEPING:
        return bool(given) and math.prod(said) == math.prod(given[0].shape)
    if op.name in ("CONCATENATION", "PACK"):
        return math.prod(said) == sum(math.prod(t.shape) for t in given)
    if op.name in ELEMENTWISE and len(given) == 2:
        try:
            return np.broadcast_shapes(given[0].shape, given[1].shape) == said
        except ValueError:
            return False
    place = PLACE_OF_SIZE.get(op.name)
    if place is None:
        return True
    if len(given) <= place or given[place].data is None or given[place].kind not in WHOLE:
        return False  # a size that is computed has no bound
    sizes = given[place].array()
    if op.name == "TRANSPOSE_CONV":
        return tuple(sizes.tolist()) == said
    if op.name.startswith("RESIZE"):
        return len(said) == 4 and tuple(sizes.tolist()) == said[1:3]
    shape = given[0].shape
    return (
        sizes.shape == (len(shape), 2)
        and tuple(n + int(a) + int(b) for n, (a, b) in zip(shape, sizes, strict=True)) == said
    )
