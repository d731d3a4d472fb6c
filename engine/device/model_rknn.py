"""A file that RKNN-Toolkit2 made for a Rockchip NPU, in RKNN-Toolkit-Lite2; as in model.py. Not run on a
board where this package was made.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class RKNN:
    """A model for single images with one input and one output."""

    id = "rknn"
    suffixes = (".rknn",)
    requirements = ("rknn-toolkit-lite2",)
    rounding = 0.02  # of a probability, in half floats or 8 bits

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
    ):
        """`threads`, `int4_weights` and `exact` change nothing: the NPU computes as the file was built."""
        from rknnlite.api import RKNNLite

        self.threads = threads
        with open("%s.precision" % os.fspath(path)) as note:
            # what built the file, as it wrote it down
            self.precision, self.version = note.read().split()
        self.runtime: Any = RKNNLite()
        if self.runtime.load_rknn(os.fspath(path)) != 0 or self.runtime.init_runtime() != 0:
            raise ImportError(
                "the NPU does not take model.rknn: its runtime must not be older than what built it"
            )

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, channels, height, width] and returns float32 scores [n, classes]."""
        return np.stack([self._run(inputs[i : i + 1]) for i in range(len(inputs))])

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...], its way to the NPU and back included."""
        self._run(one)

    def _run(self, one: np.ndarray) -> np.ndarray:
        # the runtime takes channels last, whatever the network's own order
        found = self.runtime.inference(inputs=[np.ascontiguousarray(one.transpose(0, 2, 3, 1))])
        if found is None:
            raise RuntimeError("the NPU could not run model.rknn")
        return np.asarray(found[0], np.float32).reshape(-1)
