"""An engine that TensorRT built on this device, in TensorRT's own Python and CUDA's runtime library; as in
model.py. Written for TensorRT 8.2 to 10, and not run on a Jetson where this package was made.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from typing import Any

import numpy as np

TO_DEVICE, TO_HOST = 1, 2


class Cuda:
    """What is needed of CUDA's runtime library: memory of the device, and copies to and from it."""

    PLACES = ("/usr/local/cuda/lib64/libcudart.so", "libcudart.so")

    def __init__(self) -> None:
        for name in (ctypes.util.find_library("cudart"), *self.PLACES):
            try:
                self.library = ctypes.CDLL(name) if name else None
            except OSError:
                continue
            if self.library is not None:
                return
        raise ImportError("CUDA's runtime library is not on this system, it comes with JetPack")

    def memory(self, size: int) -> ctypes.c_void_p:
        """Returns the address of so many bytes on the device."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        return address

    def put(self, address: ctypes.c_void_p, array: np.ndarray) -> None:
        """Copies an array to the device."""
        host = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cudaMemcpy", address, host, ctypes.c_size_t(array.nbytes), TO_DEVICE)

    def get(self, address: ctypes.c_void_p, array: np.ndarray) -> None:
        """Copies from the device into an array."""
        host = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cudaMemcpy", host, address, ctypes.c_size_t(array.nbytes), TO_HOST)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            raise RuntimeError("CUDA's %s ended with error %d" % (name, code))


class TensorRT:
    """An engine for single images with one input and one output."""

    id = "tensorrt"
    suffixes = (".engine",)
    requirements = ()  # it comes with JetPack
    rounding = 0.02  # of a probability, in half floats or 8 bits

    def __init__(
        self, path: str | os.PathLike[str], threads: int = 1, int4_weights: bool = False, exact: bool = False
    ):
        """`threads`, `int4_weights` and `exact` change nothing: the GPU computes as the engine was built."""
        import tensorrt

        self.version: str = tensorrt.__version__
        self.threads, self.cuda = threads, Cuda()
        with open("%s.precision" % os.fspath(path)) as note:
            self.precision: str = note.read().strip()
        logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        with open(path, "rb") as file:
            self.engine = tensorrt.Runtime(logger).deserialize_cuda_engine(file.read())
        if self.engine is None:
            raise ImportError(
                "this TensorRT (%s) does not read the engine: build it anew with build_engine.sh"
                % self.version
            )
        self.context = self.engine.create_execution_context()
        self.arrays = [
            np.zeros(shape, np.float16 if "HALF" in kind or "FLOAT16" in kind else np.float32)
            for shape, kind in self._ends()
        ]
        self.addresses = [self.cuda.memory(array.nbytes) for array in self.arrays]

    def _ends(self) -> list[tuple[tuple[int, ...], str]]:
        """Returns shape and type of the input and the output, whichever way this version names them."""
        engine = self.engine
        if hasattr(engine, "num_io_tensors"):  # 8.5 and later
            names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
            return [(tuple(engine.get_tensor_shape(n)), str(engine.get_tensor_dtype(n))) for n in names]
        places = range(engine.num_bindings)
        return [(tuple(engine.get_binding_shape(i)), str(engine.get_binding_dtype(i))) for i in places]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Runs float32 inputs [n, ...] one by one and returns float32 scores [n, classes]."""
        return np.stack([self._run(inputs[i : i + 1]) for i in range(len(inputs))])

    def run_once(self, one: np.ndarray) -> None:
        """Runs one input [1, ...], its way to the GPU and back included."""
        self._run(one)

    def _run(self, one: np.ndarray) -> np.ndarray:
        first, last = self.arrays[0], self.arrays[-1]
        np.copyto(first, one.reshape(first.shape))
        self.cuda.put(self.addresses[0], first)
        if not self.context.execute_v2([int(address.value or 0) for address in self.addresses]):
            raise RuntimeError("TensorRT could not run the engine")
        self.cuda.get(self.addresses[-1], last)
        return last.reshape(-1).astype(np.float32)
