"""A framework of one file, as a newcomer would write it: linear classifiers in NumPy, deployed as ONNX."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engine.backends.onnx.graph import Graph
from engine.backends.protocol import Facts, LayerInfo
from engine.device.preprocessing import preprocess
from engine.frameworks import FRAMEWORKS, Export, FrameworkEntry
from engine.vocabulary import ModelFile, Preprocessing

NAME = "scores"


class Linear:
    """See `Framework`. A network is a pair of arrays: weights [classes, pixels] and biases [classes]."""

    def __init__(self, preprocessing: Preprocessing, cache: Path, threads: int = 1):
        self.preprocessing = preprocessing

    def load(self, model: ModelFile):
        with np.load(model.path) as stored:
            return stored["weights"], stored["biases"]

    def facts(self, network) -> Facts:
        weights, biases = network
        layer = LayerInfo(NAME, "dense", weights.shape, weights.size, is_output=True)
        return Facts("linear", (layer,), weights.size + biases.size, weights.size)

    def cost(self, network) -> tuple[int, int]:
        return network[0].size, network[0].size + network[1].size

    def weights(self, network) -> dict[str, np.ndarray]:
        return {NAME: network[0].copy()}

    def biases(self, network) -> dict[str, np.ndarray]:
        return {NAME: network[1].copy()}

    def with_weights(self, network, weights, biases=None):
        return weights.get(NAME, network[0]), (biases or {}).get(NAME, network[1])

    def folded(self, network):
        return network

    def logits(self, network, images: np.ndarray) -> np.ndarray:
        inputs = preprocess(images, self.preprocessing.model_dump()).reshape(len(images), -1)
        return inputs @ network[0].T + network[1]


def export(network, preprocessing: Preprocessing, cache: Path) -> Graph:
    """Returns the ONNX graph of a network."""
    channels = 1 if preprocessing.color == "grey" else 3
    shape = ["batch", channels, preprocessing.height, preprocessing.width]
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Gemm", ["flat", f"{NAME}.weight", f"{NAME}.bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(network[1])])],
        [
            numpy_helper.from_array(network[0].astype(np.float32), f"{NAME}.weight"),
            numpy_helper.from_array(network[1].astype(np.float32), f"{NAME}.bias"),
        ],
    )
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def registered(monkeypatch, folder: Path) -> ModelFile:
    """Registers the framework for one test and returns a model of it."""
    entry = FrameworkEntry(
        id="linear",
        title="Linear",
        packages=("numpy",),
        base_bytes=200_000_000,
        networks="tests.backends.linear:Linear",
        exports={"onnx": Export("tests.backends.linear:export", ("onnx",))},
    )
    monkeypatch.setitem(FRAMEWORKS, "linear", entry)
    path = folder / "model.npz"
    weights = np.random.default_rng(0).normal(0, 0.1, (4, 64)).astype(np.float32)
    np.savez(path, weights=weights, biases=np.zeros(4, np.float32))
    return ModelFile(
        name="linear",
        path=str(path),
        sha256="0" * 64,
        size_bytes=path.stat().st_size,
        format="npz",
        framework="linear",
        input_shape=(8, 8, 1),
        classes=list("abcd"),
        layers=1,
        parameters=260,
        preprocessing=Preprocessing(height=8, width=8, color="grey", layout="NCHW", mean=[0.5], std=[0.25]),
    )
