"""Classifies images with the model in this folder: python infer.py IMAGE [IMAGE ...] [--json] [--threads N]

Needs what requirements.txt names and nothing else. metadata.json says how images become the model's input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import numpy as np
from image import NoPicture, decode
from model import open_model
from preprocessing import preprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def read_metadata() -> Any:
    """Returns what metadata.json says about this package."""
    with open(os.path.join(HERE, "metadata.json"), encoding="utf-8") as file:
        return json.load(file)


def read_image(path: str, spec: dict[str, Any]) -> np.ndarray:
    """Returns an image file as uint8 [height, width, channels], fitted as the model wants."""
    with open(path, "rb") as file:
        content = file.read()
    shape = (spec["height"], spec["width"], 1 if spec["color"] == "grey" else 3)
    picture: np.ndarray = decode(content, shape, spec.get("fit", "stretch"), spec.get("upright", True))
    return picture


def model_path(metadata: dict[str, Any]) -> str:
    """Returns the file that the runtime opens; an entropy-coded one is decoded beside it the first time."""
    stored: str = os.path.join(HERE, metadata["artifact"]["file"])
    if not stored.endswith(".ewz"):
        return stored
    import decoder

    path: str = os.path.join(HERE, metadata["artifact"]["runs_as"])
    if not os.path.exists(path):
        with open(stored, "rb") as file:
            model = decoder.decode(file.read())
        with open(path + ".part", "wb") as file:
            file.write(model)
        os.replace(path + ".part", path)
    return path


def load(metadata: dict[str, Any], threads: int) -> Any:
    """Returns the model, opened in its runtime as it was when it was measured."""
    return open_model(model_path(metadata), threads, int4_weights=metadata["artifact"]["int4_weights"])


def probabilities(scores: np.ndarray, kind: str) -> np.ndarray:
    """Returns scores as probabilities [classes]; logits go through a softmax."""
    if kind == "probabilities":
        return scores
    e = np.exp(scores - scores.max())
    return np.asarray(e / e.sum())


def main() -> None:
    """Classifies the images that are named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--json", action="store_true", help="print one JSON object an image")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    metadata = read_metadata()
    model = load(metadata, arguments.threads)
    for path in arguments.images:
        try:
            image = read_image(path, metadata["preprocessing"])
        except OSError as error:
            sys.exit("%s can't be read as an image: %s" % (path, error))
        except NoPicture as error:
            sys.exit("%s can't be read as an image: it %s" % (path, error))
        scores = model.predict(preprocess(image[None], metadata["preprocessing"]))[0]
        shares = probabilities(scores, metadata["outputs"])
        best = int(np.argmax(scores))
        if arguments.json:
            print(
                json.dumps(
                    {
                        "image": path,
                        "class": metadata["classes"][best],
                        "index": best,
                        "probability": float(shares[best]),
                    }
                )
            )
        else:
            print("%s: %s (%.1f %%)" % (path, metadata["classes"][best], 100 * shares[best]))


if __name__ == "__main__":
    main()
