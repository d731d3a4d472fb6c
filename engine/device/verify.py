"""Shows that this device answers as the host that made the package: python verify.py [--json FILE]
[--threads N]

The golden pictures are decoded, preprocessed and classified here, and each step is held against what came
out of it there. Ends with code 1 where an answer is another one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import numpy as np
from classifier import HERE, OTHER_RUNTIME, BadPackage, Classifier, differing, golden
from image import NoPicture
from preprocessing import preprocess

PIXELS = 2.0  # mean levels of 255 by which decoders of JPEG may differ
INPUTS = 1e-4  # by which a preprocessed value may differ, for what is of size 1


def main() -> None:
    """Compares, prints what was found, and ends with code 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write what was found")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runtime", choices=["opencv"], help=OTHER_RUNTIME)
    arguments = parser.parse_args()
    try:
        found = compared(Classifier(arguments.threads, tries=False, runtime=arguments.runtime))
    except (BadPackage, OSError) as error:
        sys.exit(str(error))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found, file, indent=1)
    print(found["sentence"])
    sys.exit(0 if found["agrees"] else 1)


def compared(classifier: Classifier) -> dict[str, Any]:
    """Returns whether the answers agree, how far the scores are apart, and which step is to blame where
    they do not. Raises BadPackage where the golden pictures are missing.
    """
    scores, pixels, inputs = (golden(name) for name in ("scores", "pixels", "inputs"))
    names = classifier.metadata["golden"]["pictures"]
    if scores is None or pixels is None or inputs is None or len(scores) != len(names):
        raise BadPackage("the golden pictures are not all here: unpack the package again")
    read, broken = [], []
    for number, name in enumerate(names):
        try:
            read.append(classifier.read_file(os.path.join(HERE, "golden", name)))
        except NoPicture as error:
            broken.append(str(error))
            read.append(pixels[number])
    pictures = np.stack(read)
    ours = np.stack([classifier.scores(picture) for picture in pictures])
    wrong = differing(classifier, ours, scores)
    apart = np.abs(classifier.probabilities(ours) - classifier.probabilities(scores)).max(axis=1)
    first = int(np.argmax(wrong)) if wrong.any() else None
    blame = "" if first is None else to_blame(classifier, pictures, pixels, inputs, scores)
    found = {
        "pictures": len(names),
        "same_answers": int(len(names) - wrong.sum()),
        "worst_difference": float(apart.max()),
        "mean_difference": float(apart.mean()),
        "decoding_difference": float(np.abs(pictures.astype(float) - pixels).mean(axis=(1, 2, 3)).max()),
        "first_that_differs": "" if first is None else names[first],
        "to_blame": blame,
        "unreadable": broken,
        "agrees": first is None and not broken,
        "runtime": classifier.model.id,
        "runtime_version": classifier.model.version,
    }
    return {**found, "sentence": sentence(found)}


def to_blame(
    classifier: Classifier, pictures: np.ndarray, pixels: np.ndarray, inputs: np.ndarray, scores: np.ndarray
) -> str:
    """Returns which step comes to something else here: decoding, preprocessing or the runtime."""
    if differing(classifier, classifier.model.predict(inputs), scores[: len(inputs)]).any():
        return "the runtime"
    ours = preprocess(pixels[: len(inputs)], classifier.spec)
    if np.abs(ours - inputs).max() > INPUTS * max(1.0, float(np.abs(inputs).max())):
        return "preprocessing"
    if np.abs(pictures.astype(float) - pixels).mean(axis=(1, 2, 3)).max() > PIXELS:
        return "decoding"
    return "the runtime"


def sentence(found: dict[str, Any]) -> str:
    """Returns what was found, for a person."""
    said = "%d of %d golden pictures get the answer that they got where this package was made" % (
        found["same_answers"],
        found["pictures"],
    )
    said += "; probabilities differ by at most %.2g" % found["worst_difference"]
    if found["first_that_differs"]:
        said += "; the first that differs is %s, and %s is to blame" % (
            found["first_that_differs"],
            found["to_blame"],
        )
    if found["unreadable"]:
        said += "; " + ", ".join(found["unreadable"])
    return said + "."


if __name__ == "__main__":
    main()
