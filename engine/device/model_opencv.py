"""A float ONNX file in OpenCV's DNN module; as in model.py. For devices that have OpenCV and can't have ONNX
Runtime: 32-bit systems, old Pythons, systems without pip.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class NotTaken(RuntimeError):
    """OpenCV does not take a file; the message says why."""


class OpenCV:
    """A network with one input and one output, run on the processor one image at a time."""

    id = "opencv"
    suffixes = (".onnx",)
    requirements = ("opencv-python-headless>=4.6",)  # 4.6.0, 4.10.0 and 5.0.0 were seen to answer alike
    precision = "float32"

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
    ):
        """`int4_weights` and `exact` change nothing: it takes float files only. Raises NotTaken for a file
        that it does not read.
        """
        import cv2

        self.version: str = cv2.__version__
        self.threads, self.error = threads, cv2.error
        cv2.setNumThreads(threads)
        try:
            self.net: Any = cv2.dnn.readNetFromONNX(os.fspath(path))
        except cv2.error as error:
            raise NotTaken(self._said("does not read this file", error)) from None

    def _said(self, what: str, error: Exception) -> str:
        lines = str(error).strip().splitlines() or [""]
        return "OpenCV %s %s: %s" % (self.version, what, lines[0])

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, channels, height, width] and returns float32 scores [n, classes]; raises
        NotTaken for a network that it can't run.
        """
        return np.stack([self._run(inputs[i : i + 1]) for i in range(len(inputs))])

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...]."""
        self._run(one)

    def _run(self, one: np.ndarray) -> np.ndarray:
        try:
            self.net.setInput(np.ascontiguousarray(one, np.float32))
            found = self.net.forward()
        except self.error as error:
            raise NotTaken(self._said("can't run this network", error)) from None
        return np.array(found, np.float32).reshape(-1)  # its own memory is used again by the next one
