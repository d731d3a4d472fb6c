"""The model of a package with all that it takes to get from a picture to an answer; what the scripts
share.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import struct
from typing import Any

import numpy as np
from image import NoPicture, decode
from model import open_model
from preprocessing import preprocess, probabilities

HERE = os.path.dirname(os.path.abspath(__file__))
UNSURE = "unsure"
# a file that is made on the device (or for it), with what opens it
ACCELERATED = (
    ("model.engine", "model_trt", "TensorRT"),
    ("model_edgetpu.tflite", "model_tpu", "EdgeTPU"),
    ("model.rknn", "model_rknn", "RKNN"),
    ("model.hef", "model_hailo", "Hailo"),
    ("model_qnn.onnx", "model_qnn", "QNN"),
)
MIN_CONFIDENCE = (
    'below it the answer is "unsure"; default: what was chosen for this package (min_confidence in'
    " metadata.json), 0 never"
)
TRIED = 4  # golden inputs that are looked at before the first answer of a runtime's version


OTHER_RUNTIME = (
    "run the file in OpenCV instead of the runtime that it was measured in (float ONNX files; pip install"
    " opencv-python-headless)"
)


class BadPackage(Exception):
    """This package can't be used here; the message says why and what to do."""


def read_metadata() -> Any:
    """Returns what metadata.json says about this package. Raises BadPackage where it can't be read."""
    try:
        with open(os.path.join(HERE, "metadata.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise BadPackage("metadata.json can't be read (%s): unpack the package again" % error) from None


def golden(name: str) -> np.ndarray | None:
    """Returns an array of the golden folder: `scores`, `inputs` or `pixels`; None where there is none."""
    path = os.path.join(HERE, "golden", name + ".npy")
    return np.load(path, allow_pickle=False) if os.path.exists(path) else None


def shape_of(spec: dict[str, Any]) -> tuple[int, int, int]:
    """Returns height, width and channels of a picture as the model wants it."""
    return spec["height"], spec["width"], 1 if spec["color"] == "grey" else 3


def decoded(content: bytes, spec: dict[str, Any]) -> np.ndarray:
    """Decodes a picture file to uint8 [height, width, channels], fitted as the model wants; raises
    image.NoPicture.
    """
    picture: np.ndarray = decode(
        content, shape_of(spec), spec.get("fit", "stretch"), spec.get("upright", True)
    )
    return picture


class Classifier:
    """The package's model, opened in its runtime as it was when it was measured.

    threads: for the runtime. tries: whether the first answers of a runtime's version are held against those
    of the host that made the package. runtime: "opencv" for another one than it was measured in. Raises
    BadPackage where it is damaged, can't be run, or answers otherwise.
    """

    def __init__(self, threads: int, tries: bool = True, runtime: str | None = None):
        if struct.calcsize("P") < 8 and runtime is None:
            raise BadPackage(
                "this Python is a 32-bit one, which the runtime has no version for: use a 64-bit system,"
                " or --runtime opencv with a float ONNX file"
            )
        self.metadata = read_metadata()
        self.spec: dict[str, Any] = self.metadata["preprocessing"]
        self.classes: list[str] = self.metadata["classes"]
        self.least: float = self.metadata.get("min_confidence") or 0.0
        artifact = self.metadata["artifact"]
        try:
            self.model: Any = opened(artifact, threads) if runtime is None else in_opencv(artifact, threads)
            if runtime is not None:  # what it can't run it says only when it runs
                self.scores(np.zeros(shape_of(self.spec), np.uint8))
        except RuntimeError as error:
            raise BadPackage(str(error)) from None
        except ImportError as error:
            raise BadPackage(
                "%s: make the environment that README.md names and start with its Python" % error
            ) from None
        if tries:
            self._try_once()

    def read(self, content: bytes) -> np.ndarray:
        """Decodes a picture file as the model wants it (`decoded`)."""
        return decoded(content, self.spec)

    def read_file(self, path: str) -> np.ndarray:
        """Reads a picture file as `read` does; raises NoPicture that names it."""
        try:
            with open(path, "rb") as file:
                return self.read(file.read())
        except OSError as error:
            raise NoPicture("%s can't be read as an image: %s" % (path, error.strerror)) from None
        except NoPicture as error:
            raise NoPicture("%s can't be read as an image: it %s" % (path, error)) from None

    def scores(self, picture: np.ndarray) -> np.ndarray:
        """Returns the model's scores float32 [classes] for one picture of `read`."""
        found: np.ndarray = self.model.predict(preprocess(picture[None], self.spec))[0]
        return found

    def answer(self, picture: np.ndarray, least: float | None = None) -> dict[str, Any]:
        """Returns class, index and probability; below the probability `least` (None: the one that was chosen
        for this package) the class is "unsure".
        """
        if least is None:
            least = self.least
        shares = self.probabilities(self.scores(picture))
        best = int(np.argmax(shares))
        name = self.classes[best] if shares[best] >= least else UNSURE
        return {"class": name, "index": best, "probability": float(shares[best])}

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Returns scores [..., classes] as probabilities."""
        found: np.ndarray = probabilities(scores, self.metadata["outputs"])
        return found

    def _try_once(self) -> None:
        """Raises BadPackage where this runtime gives other answers to the golden inputs than the host did:
        some versions are wrong and say nothing. What was tried is noted in the folder, where that can be
        written.
        """
        inputs, scores = golden("inputs"), golden("scores")
        if inputs is None or scores is None:
            return
        note = os.path.join(HERE, ".tried")
        now = "%s %s %s" % (self.model.id, self.model.version, self.metadata["artifact"]["sha256"])
        try:
            with open(note) as file:
                if file.read() == now:
                    return
        except OSError:
            pass
        few = min(TRIED, len(inputs))
        ours, theirs = self.model.predict(inputs[:few]), scores[:few]
        if differing(self, ours, theirs).any():
            raise BadPackage(
                "%s %s answers otherwise here than where this package was made: run verify.py to see what"
                " differs, and install the versions that requirements.txt names"
                % (self.model.id, self.model.version)
            )
        try:
            with open(note, "w") as file:
                file.write(now)
        except OSError:
            pass  # a read-only folder: it is tried each time


def differing(classifier: Classifier, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Tells of two arrays of scores [n, classes] where the answer is another one (bool [n]), and not for
    want of a difference between the best two: bounds of rounding are in metadata.json.
    """
    tolerance = max(classifier.metadata["golden"]["tolerance"], getattr(classifier.model, "rounding", 0.0))
    second, first = np.sort(classifier.probabilities(theirs), axis=1)[:, -2:].T
    return np.asarray((ours.argmax(1) != theirs.argmax(1)) & (first - second > tolerance))


def opened(artifact: dict[str, Any], threads: int) -> Any:
    """Returns the model in its runtime: on the accelerator where this device has made a file for it, else as
    it was measured, or in the form that an older runtime reads. Raises ImportError where the runtime is not
    here, BadPackage for a damaged file.
    """
    for name, module, runtime in ACCELERATED:
        path = os.path.join(HERE, name)
        if os.path.exists(path):
            return getattr(importlib.import_module(module), runtime)(path, threads)
    path = model_path(artifact)
    if artifact.get("older"):
        path = os.path.join(HERE, artifact["older"])
    return open_model(path, threads, int4_weights=artifact["int4_weights"])


def in_opencv(artifact: dict[str, Any], threads: int) -> Any:
    """Returns a float ONNX model in OpenCV; raises BadPackage for another file, and as `opened` does."""
    path = model_path(artifact)
    if not path.endswith(".onnx") or artifact["precision"] != "float32" or artifact["int4_weights"]:
        raise BadPackage(
            "OpenCV runs float ONNX files, and this package holds %s in %s"
            % (os.path.basename(path), "int4" if artifact["int4_weights"] else artifact["precision"])
        )
    from model_opencv import OpenCV

    return OpenCV(path, threads)


def model_path(artifact: dict[str, Any]) -> str:
    """Returns the file that the runtime opens; an entropy-coded one is decoded beside it the first time.

    Raises BadPackage for a file that is not the one that was measured.
    """
    stored: str = os.path.join(HERE, artifact["file"])
    with open(stored, "rb") as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != artifact["sha256"]:
        raise BadPackage(
            "%s is not the file that was measured: it was changed or damaged, so unpack the package again"
            % artifact["file"]
        )
    if not stored.endswith(".ewz"):
        return stored
    import decoder

    path: str = os.path.join(HERE, artifact["runs_as"])
    if not os.path.exists(path):
        with open(path + ".part", "wb") as file:
            file.write(decoder.decode(content))
        os.replace(path + ".part", path)
    return path
