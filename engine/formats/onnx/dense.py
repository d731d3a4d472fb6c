"""Dense layers of more than two axes, as attention and ConvNeXt have them: a product with a stored matrix,
and the row that is added to it, as one operator of our own, which becomes a PyTorch layer and never leaves
this room; and activations likewise.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.formats.onnx.activations import join_activations
from engine.formats.onnx.batch import shapes_at
from engine.formats.onnx.tidy import without_dead_ends

ONE = 1  # image, where the batch is free
DOMAIN = "edgewise"  # of the operator `Linear`: x [..., in], weight [in, out], bias [out]


def joined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes, in place, a `Linear` of each MatMul with a stored matrix and the Add of a row behind it, and the
    activations of `join_activations`.

    Their shapes are noted, because nothing can infer them through an operator of our own.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    image, gone = graph.input[0], []
    sizes = tuple(dim.dim_value or ONE for dim in image.type.tensor_type.shape.dim)
    shapes = shapes_at(model, image.name, sizes)
    ours = join_activations(graph, DOMAIN)
    for node in graph.node:
        if node.op_type != "MatMul" or len(getattr(stored.get(node.input[1]), "dims", ())) != 2:
            continue
        node.op_type, node.domain = "Linear", DOMAIN
        users = readers.get(node.output[0], [])
        bias = _row(users, node.output[0], stored, stored[node.input[1]].dims[1])
        if bias is not None and node.output[0] not in {value.name for value in graph.output}:
            name = f"{users[0].output[0]}_row"
            graph.initializer.append(numpy_helper.from_array(bias, name))
            node.input.append(name)
            node.output[0] = users[0].output[0]
            gone.append(users[0])
        ours.append(node)
    for name in (node.output[0] for node in ours):
        if name in shapes:
            graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]))
    for node in gone:
        graph.node.remove(node)
    without_dead_ends(graph, graph.output[0].name)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return model


def _row(users: list[onnx.NodeProto], output: str, stored: dict, width: int) -> np.ndarray | None:
    if len(users) != 1 or users[0].op_type != "Add":
        return None
    names = [name for name in users[0].input if name != output]
    if len(names) != 1 or names[0] not in stored:
        return None
    row = numpy_helper.to_array(stored[names[0]])
    return np.ascontiguousarray(row.reshape(-1)) if row.size == width == (row.shape or (0,))[-1] else None
