"""What a technique works with: networks of one framework, files of one format."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.backends.images import images_at_once
from engine.backends.protocol import Format, Framework, Graph, Network, QuantSpec
from engine.device.model import open_model
from engine.device.preprocessing import preprocess
from engine.errors import BadInput, EdgewiseError
from engine.vocabulary import Preprocessing


class Backend:
    """A framework and a format together. All that a `Framework` does is here by the same name; what is made
    of networks, and what is in the files, is below.

    Attributes:
        framework, format: The two.
        exporter: Writes a folded network as the format's float graph (`Export.writer`).
        cache: A folder for exported graphs.
        threads: What the runtime may use.
    """

    def __init__(
        self,
        framework: Framework,
        format: Format,
        exporter: Callable[[Network, Preprocessing, Path], Graph],
        cache: Path,
        threads: int = 1,
    ):
        self.framework, self.format, self.exporter = framework, format, exporter
        self.cache, self.threads = cache, threads

    def __getattr__(self, name: str) -> Any:
        if name == "framework":  # not there yet: a copy in the making
            raise AttributeError(name)
        return getattr(self.framework, name)

    def export(
        self, network: Network, spec: QuantSpec | None, calibration: np.ndarray | None, path: Path
    ) -> Path:
        """Writes the deployable file (`path` without its ending) and returns it. calibration: uint8 images.

        A network of a shape that was exported before is not exported again: its weights are written into the
        kept graph. Raises EdgewiseError where the network can't be written so.
        """
        target = path.with_name(path.name + self.format.suffix)
        graph = self._exported(network)
        if spec is None:
            self.format.store(graph, target)
            return target
        if spec.kind == "static_int8" and calibration is None:
            raise BadInput("Full INT8 takes calibration images, and there are none: give a data set.")
        inputs = None
        if spec.kind == "static_int8":
            inputs = preprocess(np.asarray(calibration), self._fed().model_dump())
        self.format.quantize(graph, spec, inputs, target, self.threads)
        return target

    def _exported(self, network: Network) -> Graph:
        try:
            return self.exporter(self.framework.folded(network), self.framework.preprocessing, self.cache)
        except (EdgewiseError, MemoryError):
            raise
        except Exception as error:  # an exporter's many ways to fail each mean the same here
            traceback.print_exception(error)  # to the log
            raise EdgewiseError(
                f"this network can't be written as {self.format.suffix[1:].upper()}: one of its operations"
                " has no counterpart there"
            ) from None

    def predict(self, artifact: Path, images: np.ndarray) -> np.ndarray:
        """Runs a written artifact in its own runtime on uint8 images; returns float32 [n, classes]."""
        int4 = any(kind == "int4" for _, kind in self.stored_tensors(artifact))
        model = open_model(artifact, self.threads, int4_weights=int4)
        return np.concatenate([model.predict(x) for x in self._inputs(images)])

    def _inputs(self, images: np.ndarray) -> Iterator[np.ndarray]:
        p = self._fed()
        size = images_at_once(p.height, p.width)
        for start in range(0, len(images), size):
            yield preprocess(images[start : start + size], p.model_dump())

    def _fed(self) -> Preprocessing:
        return self.framework.preprocessing.as_fed(f"model{self.format.suffix}")

    def stored_tensors(self, artifact: Path) -> list[tuple[bytes, str]]:
        """Returns the stored bytes of an artifact's weights, each with `float32`, `int8` or `int4`."""
        return self.format.stored_tensors(artifact)

    def remarks(self, artifact: Path) -> list[str]:
        """Returns what the user should know about a written file, as sentences read from the file itself."""
        return self.format.remarks(artifact)

    def companions(self, artifact: Path) -> list[Path]:
        """Writes beside an artifact what other uses want of it, and returns those files."""
        return self.format.companions(artifact)
