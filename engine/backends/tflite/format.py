"""TFLite as a deployable format, run by LiteRT."""

from pathlib import Path

import numpy as np

from engine.backends.protocol import QuantSpec
from engine.backends.tflite import calibrate, file, integer, quantize, remarks
from engine.backends.tflite.exported import Exported


class TFLite:
    """See `Format`."""

    suffix = ".tflite"
    saturates = False  # LiteRT's kernels widen to 16 bits before they multiply and add in 32

    def store(self, graph: Exported, target: Path) -> None:
        quantize.to_sparse(graph)
        target.write_bytes(graph.file.bytes())

    def quantize(
        self, graph: Exported, spec: QuantSpec, inputs: np.ndarray | None, target: Path, threads: int
    ) -> None:
        if spec.kind == "fp16":
            quantize.to_fp16(graph)
        elif spec.kind == "weights":
            quantize.to_weights(graph, spec.grids)
        elif spec.kind == "dynamic_int8":
            quantize.to_dynamic(graph)
        else:
            integer.to_integer(graph, spec, calibrate.ranges(graph.file, inputs, spec.calibrate, threads))
        target.write_bytes(graph.file.bytes())

    def stored_tensors(self, artifact: Path) -> list[tuple[bytes, str]]:
        return file.stored_tensors(artifact)

    def remarks(self, artifact: Path) -> list[str]:
        return remarks.remarks(file.TFLite.read(artifact))

    def companions(self, artifact: Path) -> list[Path]:
        written = file.TFLite.read(artifact)
        if not integer.takes_integers(written):
            return []
        integer.bridge(written, set(range(len(written.graph.operators))), float_io=True)
        beside = artifact.with_name(f"{artifact.stem}_float_io.tflite")
        beside.write_bytes(written.bytes())
        return [beside]
