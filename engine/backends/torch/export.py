"""Torch networks to ONNX: exported once a shape, afterwards only the weights are written anew."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import fx, nn

from engine.backends.onnx.graph import Graph
from engine.formats.onnx.written import as_onnx
from engine.vocabulary import Preprocessing
from estimator.profile import onnx_constants


def export(folded: nn.Module, preprocessing: Preprocessing, cache: Path) -> Graph:
    """Returns the ONNX graph of a network whose BatchNorm is folded, batch dynamic, input `input`, output
    `logits`.

    A graph of the same structure and shapes in `cache` is reused with this network's weights.
    """
    channels = 1 if preprocessing.color == "grey" else 3
    example = torch.zeros(2, channels, preprocessing.height, preprocessing.width)
    template = cache / f"graph-{signature(folded, example)}.onnx"
    if template.exists():
        graph = Graph(onnx.load(str(template)))
        if _write_weights(graph, folded):
            return graph
    model = _computed_ahead(as_onnx(folded, example))
    _copy_shared(model.graph)
    _name_weights(model.graph, folded)
    cache.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(template))
    return Graph(model)


def signature(network: nn.Module, example: torch.Tensor) -> str:
    """Returns a hash of a network's code and tensor shapes, the same for networks that differ in values
    only.
    """
    code = network.code if isinstance(network, fx.GraphModule) else str(network)
    modules = str(network) if isinstance(network, fx.GraphModule) else ""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    return hashlib.sha256(repr((code, modules, shapes, tuple(example.shape))).encode()).hexdigest()[:24]


def _computed_ahead(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds what the exporter left to be computed from constants (padding sizes of sliced shortcuts, say):
    shape inference, the quantizer and other runtimes want it plain."""
    if not any(node.op_type in ("ConstantOfShape", "Shape") for node in model.graph.node):
        return model
    model = onnx.shape_inference.infer_shapes(model)
    onnx_constants.fold(model)
    return model


def _copy_shared(graph: onnx.GraphProto) -> None:
    """Gives each tensor its own values where the exporter stored equal ones once: another network's weights
    are written into this graph, and there they differ.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in stored]:
        copied = graph.initializer.add()
        copied.CopyFrom(stored[node.input[0]])
        copied.name = node.output[0]
        graph.node.remove(node)


def _name_weights(graph: onnx.GraphProto, network: nn.Module) -> None:
    """Names the stored matrix of each dense layer over tokens after its layer: the exporters transpose it
    ahead, and number it.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    layers: dict[bytes, list[str]] = {}
    for name in _dense(network):
        if name not in stored:
            array = network.get_parameter(name).detach().numpy().T
            layers.setdefault(_key(array), []).append(name)
    numbered = set()
    for node in graph.node if layers else ():
        tensor = stored.get(node.input[1]) if node.op_type == "MatMul" else None
        names = layers.get(_key(numpy_helper.to_array(tensor)), []) if tensor is not None else []
        if not names:
            continue
        name = names.pop(0) if len(names) > 1 else names[0]
        if name not in stored:
            stored[name] = graph.initializer.add()
            stored[name].CopyFrom(tensor)
            stored[name].name = name
        numbered.add(node.input[1])
        node.input[1] = name
    for name in numbered - {name for node in graph.node for name in node.input}:
        graph.initializer.remove(stored[name])


def _dense(network: nn.Module) -> list[str]:
    """Returns the names of the weights of dense layers, in the order of the layers."""
    return [f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Linear)]


def _key(array: np.ndarray) -> bytes:
    return repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()


def _write_weights(graph: Graph, network: nn.Module) -> bool:
    """Writes a network's tensors into the graph's initializers; False where a tensor has no place of its
    own.
    """
    used = {name for node in graph.model.graph.node for name in node.input}
    read = {node.input[1] for node in graph.model.graph.node if node.op_type == "MatMul"}
    turned = read & set(_dense(network))
    for name, value in network.state_dict().items():
        tensor = graph.initializers.get(name)
        if tensor is None:
            if name.endswith("num_batches_tracked"):
                continue
            return False
        if name in used:
            array = value.detach().numpy().T if name in turned else value.detach().numpy()
            if tuple(tensor.dims) != array.shape:
                return False
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return True
