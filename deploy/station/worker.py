"""Runs in a process of its own beside the station: opens the package in a folder and answers pictures over a
socket. Nothing of the station is in reach here, and of two packages none meets the other's modules.

    python -I -B worker.py FOLDER SOCKET THREADS

A request is four bytes of length and a picture; an answer is a line of JSON.
"""

import json
import socket
import sys
from typing import Any

import numpy as np


def main() -> None:
    """Says what the package is, then answers until the station hangs up."""
    folder, handle, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.path.insert(0, folder)
    from classifier import BadPackage, Classifier  # of the package
    from image import NoPicture

    stream = socket.socket(fileno=handle).makefile("rwb")
    try:
        classifier = Classifier(threads)
    except (BadPackage, OSError, ValueError) as error:
        say(stream, {"error": str(error)})
        return
    say(stream, {"ready": classifier.model.id})
    while head := stream.read(4):
        content = stream.read(int.from_bytes(head, "big"))
        try:
            say(stream, answer(classifier, classifier.read(content)))
        except NoPicture as error:
            say(stream, {"no_picture": str(error)})


def answer(classifier: Any, picture: np.ndarray) -> dict[str, Any]:
    """Returns class, index and probability of uint8 [height, width, channels], and what its light is like."""
    # how sure is sure enough is the station's to say
    return {**classifier.answer(picture, 0.0), **light(picture)}


def light(picture: np.ndarray) -> dict[str, float]:
    """Returns the mean, the spread, and the strength of edges of a picture, each in levels of 255."""
    grey = picture.astype(np.float32).mean(axis=2)
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "sharpness": float(edges.std()) if edges.size else 0.0,
    }


def say(stream: Any, what: dict[str, Any]) -> None:
    """Sends a line."""
    stream.write(json.dumps(what).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    main()
