"""A file that Hailo's compiler made, in HailoRT's Python; as in model.py. Written by HailoRT 4's tutorials,
and not run on a Hailo where this package was made.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class Hailo:
    """A compiled network with one input and one output; it stays on the chip as long as this lives."""

    id = "hailort"
    suffixes = (".hef",)
    requirements = ()  # it comes with the system
    rounding = 0.02  # of a probability, in 8 bits
    precision = "int8"

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
    ):
        """`threads`, `int4_weights` and `exact` change nothing: the chip computes as the file was built."""
        import hailo_platform as hailo

        self.version: str = getattr(hailo, "__version__", "")
        self.threads = threads
        self.device = hailo.VDevice()
        hef = hailo.HEF(os.fspath(path))
        how = hailo.ConfigureParams.create_from_hef(hef=hef, interface=hailo.HailoStreamInterface.PCIe)
        network: Any = self.device.configure(hef, how)[0]
        floats = hailo.FormatType.FLOAT32
        self.input = hef.get_input_vstream_infos()[0].name
        self.output = hef.get_output_vstream_infos()[0].name
        self.pipeline = hailo.InferVStreams(
            network,
            hailo.InputVStreamParams.make(network, format_type=floats),
            hailo.OutputVStreamParams.make(network, format_type=floats),
        )
        self.active = network.activate(network.create_params())
        self.pipeline.__enter__()
        self.active.__enter__()

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, channels, height, width] and returns float32 scores [n, classes]."""
        return np.stack([self._run(inputs[i : i + 1]) for i in range(len(inputs))])

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...], its way to the chip and back included."""
        self._run(one)

    def _run(self, one: np.ndarray) -> np.ndarray:
        last = np.ascontiguousarray(one.transpose(0, 2, 3, 1))
        return np.asarray(self.pipeline.infer({self.input: last})[self.output], np.float32).reshape(-1)
