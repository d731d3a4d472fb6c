"""ONNX as a deployable format, run by ONNX Runtime."""

from pathlib import Path

import numpy as np

from engine.backends.onnx import quantize
from engine.backends.onnx.graph import Graph
from engine.backends.protocol import QuantSpec
from engine.errors import EdgewiseError
from engine.formats.onnx.opset import opset_of, raised

LEAST_OPSET = {"weights": quantize.INT4_OPSET, "static_int8": 13}  # of scales per channel


class ONNX:
    """See `Format`."""

    suffix = ".onnx"
    saturates = True

    def store(self, graph: Graph, target: Path) -> None:
        graph.save(target)

    def quantize(
        self, graph: Graph, spec: QuantSpec, inputs: np.ndarray | None, target: Path, threads: int
    ) -> None:
        if graph.foreign:
            opset = LEAST_OPSET.get(spec.kind, 0)
            later = raised(graph.model, opset)
            if later is None:
                raise EdgewiseError(
                    f"its graph of opset {opset_of(graph.model)} can't be raised to opset {opset}, which this"
                    " needs: export the model again with a later opset"
                )
            graph = Graph(later).copy()
        quantize.quantize(graph, spec, inputs, target)

    def stored_tensors(self, artifact: Path) -> list[tuple[bytes, str]]:
        return quantize.stored_tensors(artifact)

    def remarks(self, artifact: Path) -> list[str]:
        return []

    def companions(self, artifact: Path) -> list[Path]:
        return []
