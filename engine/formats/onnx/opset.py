"""The version of ONNX's operators that a graph is written in, read and raised."""

import onnx
from onnx import version_converter

GRID_MODES = {b"bilinear": b"linear", b"bicubic": b"cubic"}  # of GridSample, called so since opset 20


def raised(model: onnx.ModelProto, opset: int) -> onnx.ModelProto | None:
    """Returns the graph in a later opset, or None where ONNX's converter lacks a step."""
    if opset_of(model) >= opset:
        return model
    try:
        made = version_converter.convert_version(model, opset)
    except Exception:  # its classes of errors are the C++ library's own
        return None
    for node in made.graph.node:
        for given in node.attribute:
            if opset >= 20 and node.op_type == "GridSample" and given.s in GRID_MODES:
                given.s = GRID_MODES[given.s]  # the converter leaves the old names, which nothing then runs
    return made


def opset_of(model: onnx.ModelProto) -> int:
    """Returns the version of ONNX's own operators that a file is written in."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
