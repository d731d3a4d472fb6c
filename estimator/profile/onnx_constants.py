"""Computes ahead what an ONNX graph works out from constants and known shapes, such as the sizes of a
reshape.
"""

from typing import Any

import numpy as np

MOST_ELEMENTS = 4_096  # sizes and paddings are small; anything larger is a weight and stays where it is


def fold(model: Any) -> int:
    """Replaces nodes whose inputs are all small constants, or that ask for a shape that is known, by
    initializers.

    `model` is an onnx.ModelProto, changed in place; run shape inference first so that shapes are known.
    Returns how many nodes went.
    """
    from onnx import numpy_helper

    graph = model.graph
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer if np.prod(t.dims) <= MOST_ELEMENTS}
    stored, shapes, kept = set(known), _known_shapes(graph), []
    for node in graph.node:
        values = _values(node, known, shapes, model.opset_import)
        if values is None or any(np.size(value) > MOST_ELEMENTS for value in values):
            kept.append(node)
        else:
            known.update(zip(node.output, values, strict=True))
    gone = len(graph.node) - len(kept)
    wanted = {name for node in kept for name in node.input} | {output.name for output in graph.output}
    graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in known.items()
        if name in wanted and name not in stored
    )
    del graph.node[:]
    graph.node.extend(kept)
    return gone


def _known_shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return shapes


def _values(
    node: Any, known: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], opsets: Any
) -> list[np.ndarray] | None:
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    attributes = {a.name for a in node.attribute}
    if node.op_type == "Shape" and node.input[0] in shapes and not attributes:
        return [np.array(shapes[node.input[0]], np.int64)]
    if node.domain not in ("", "ai.onnx") or not all(name in known or not name for name in node.input):
        return None
    if node.op_type in ("DequantizeLinear", "QuantizeLinear", "Identity") or any(
        a.g.node for a in node.attribute
    ):
        return None
    feeds = {name: known[name] for name in node.input if name}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info(name, 0, None) for name in node.output]
    alone = helper.make_model(helper.make_graph([node], "one", inputs, outputs), opset_imports=opsets)
    try:
        return [np.asarray(value) for value in ReferenceEvaluator(alone).run(None, feeds)]
    except Exception:  # an operator that the reference does not know stays in the graph
        return None
