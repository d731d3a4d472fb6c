"""An ONNX graph in memory: its layers, their weights with the output channel first, BatchNorm folded, and
ONNX Runtime at work on it with values from inside. Imports no torch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

WEIGHTED = ("Conv", "Gemm", "MatMul")


class Graph:
    """A model with its stored tensors by name. What holds a layer's weights is called `<layer>.weight`.

    `foreign` ones were not exported here: their operators may mean something else in a later opset.
    """

    def __init__(self, model: onnx.ModelProto, foreign: bool = False):
        self.model, self.foreign = model, foreign
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}

    def save(self, path: Path) -> None:
        """Writes the file."""
        onnx.save(self.model, str(path))

    def copy(self) -> "Graph":
        """Returns a copy that shares nothing."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Graph(model)

    def array(self, name: str) -> np.ndarray:
        """Returns a stored tensor's values."""
        return numpy_helper.to_array(self.initializers[name])

    def put(self, name: str, array: np.ndarray) -> None:
        """Stores values under a name, in place of those that were there."""
        if name not in self.initializers:
            self.initializers[name] = self.model.graph.initializer.add()
        self.initializers[name].CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        )

    # ---- layers --------------------------------------------------------------------------------------------

    def layers(self) -> dict[str, onnx.NodeProto]:
        """Returns the nodes whose weights are theirs alone, by layer name, in the order in which they run."""
        uses: dict[str, int] = {}
        for node in self.model.graph.node:
            for name in node.input:
                uses[name] = uses.get(name, 0) + 1
        return {
            node.input[1].removesuffix(".weight"): node
            for node in self.model.graph.node
            if node.op_type in WEIGHTED
            and len(node.input) > 1
            and uses[node.input[1]] == 1
            and self._is_plain(node)
        }

    def _is_plain(self, node: onnx.NodeProto) -> bool:
        tensor = self.initializers.get(node.input[1])
        if (
            tensor is None
            or tensor.data_type != onnx.TensorProto.FLOAT
            or len(tensor.dims) != (4 if node.op_type == "Conv" else 2)
        ):
            return False
        given = attributes(node)
        return not given.get("transA") and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0

    def weight(self, node: onnx.NodeProto) -> np.ndarray:
        """Returns a layer's weights, float32 [out, …]."""
        array = self.array(node.input[1])
        return array.T if output_axis(node) else array

    def set_weight(self, node: onnx.NodeProto, array: np.ndarray) -> None:
        """Stores a layer's weights, given as [out, …]."""
        self.put(node.input[1], array.T if output_axis(node) else array)

    def bias(self, node: onnx.NodeProto) -> np.ndarray:
        """Returns a layer's bias, float32 [out]; zeros where it has none."""
        channels = self.initializers[node.input[1]].dims[output_axis(node)]
        name = self._added_bias(node) or (node.input[2] if len(node.input) > 2 else "")
        if name not in self.initializers:
            return np.zeros(channels, np.float32)
        return np.broadcast_to(self.array(name).reshape(-1), channels).astype(np.float32)

    def set_bias(self, node: onnx.NodeProto, array: np.ndarray) -> None:
        """Stores a layer's bias [out]; a MatMul gets an Add behind it."""
        name = f"{node.input[1].removesuffix('.weight')}.bias"
        if node.op_type != "MatMul":
            del node.input[2:]
            node.input.append(name)
        elif not self._added_bias(node):
            inner = f"{node.output[0]}_before_bias"
            place = list(self.model.graph.node).index(node)
            self.model.graph.node.insert(
                place + 1, helper.make_node("Add", [inner, name], [node.output[0]], name=f"{node.name}_bias")
            )
            self.model.graph.node[place].output[0] = inner
        self.put(name, array)

    def _added_bias(self, node: onnx.NodeProto) -> str:
        name = f"{node.input[1].removesuffix('.weight')}.bias"
        return name if node.op_type == "MatMul" and name in self.initializers else ""

    def output_of(self, node: onnx.NodeProto) -> str:
        """Returns the name of a layer's output, its bias added."""
        return node.output[0].removesuffix("_before_bias")

    # ---- running -------------------------------------------------------------------------------------------

    def session(self, inside: Sequence[str] = (), threads: int = 1) -> onnxruntime.InferenceSession:
        """Opens the graph; values from inside become outputs of their own behind the scores."""
        model = self.copy().model
        known = {value.name for value in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inside if name not in known)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(
        self, inputs: Iterator[np.ndarray], names: Sequence[str], threads: int = 1
    ) -> Iterator[list[np.ndarray]]:
        """Yields, for each batch of preprocessed images [n, …], the values of these names; a fixed batch is
        filled up and the filling cut off again."""
        session = self.session([name for name in names if name != "input"], threads)
        for batch in inputs:
            for part, count in self.filled(batch):
                wanted = (
                    session.run([name for name in names if name != "input"], {"input": part})
                    if set(names) != {"input"}
                    else []
                )
                found = dict(zip([name for name in names if name != "input"], wanted, strict=True)) | {
                    "input": part
                }
                yield [
                    found[name][:count] if len(found[name]) == len(part) else found[name] for name in names
                ]

    def filled(self, batch: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """Yields a batch in pieces of the size that the graph takes, each with how many of its images
        count.
        """
        size = self.fixed_batch or len(batch)
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            missing = size - len(part)
            yield (
                (np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part),
                len(part),
            )

    @property
    def fixed_batch(self) -> int | None:
        """How many images the graph takes at a time; None where it takes any number."""
        return self.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None


def attributes(node: onnx.NodeProto) -> dict:
    """Returns a node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def output_axis(node: onnx.NodeProto) -> int:
    """Returns which axis of a layer's stored weights counts its outputs."""
    return (
        1
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes(node).get("transB"))
        else 0
    )


def folded(graph: Graph) -> Graph:
    """Returns a copy with each BatchNorm behind a layer multiplied into that layer's weights and bias."""
    made = graph.copy()
    nodes, outputs = made.model.graph.node, {value.name for value in made.model.graph.output}
    layers = {node.output[0]: node for node in made.layers().values() if node.op_type != "MatMul"}
    for norm in [
        node
        for node in nodes
        if node.op_type == "BatchNormalization" and len([n for n in node.output if n]) == 1
    ]:
        layer, source = layers.get(norm.input[0]), norm.input[0]
        readers = sum(source in node.input for node in nodes)
        if (
            layer is None
            or readers != 1
            or source in outputs
            or not all(name in made.initializers for name in norm.input[1:])
        ):
            continue
        gamma, beta, mean, variance = (made.array(name).astype(np.float64) for name in norm.input[1:])
        scale = gamma / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
        weight, bias = made.weight(layer), made.bias(layer)
        made.set_weight(layer, weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)))
        made.set_bias(layer, (bias - mean) * scale + beta)
        layer.output[0] = norm.output[0]
        layers[norm.output[0]] = layer
        nodes.remove(norm)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in made.model.graph.initializer if tensor.name in used]
    del made.model.graph.initializer[:]
    made.model.graph.initializer.extend(kept)
    return Graph(made.model)
