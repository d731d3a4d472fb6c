"""Pictures by which the tool that makes a file for an NPU finds its ranges, as this package's model is fed:
the golden ones, or those of a folder of yours, which is better: some hundreds, as the device will see them.
For the computer on which that tool runs.

    python3 calibration.py rknn|hailo [FOLDER]
"""

from __future__ import annotations

import os
import sys

import numpy as np
from classifier import HERE, BadPackage, decoded, golden, read_metadata
from image import NoPicture
from infer import pictures
from preprocessing import preprocess

FOLDER = "calibration"
MOST = 1024  # pictures


def inputs(folder: str = "") -> np.ndarray:
    """Returns model input float32 [n, channels, height, width] of the pictures in a folder, else of the
    golden ones. Raises BadPackage where there are none.
    """
    spec = read_metadata()["preprocessing"]
    if folder:
        read = []
        for path in pictures([folder]):
            try:
                with open(path, "rb") as file:
                    read.append(decoded(file.read(), spec))
            except NoPicture:
                continue
            if len(read) == MOST:
                break
        found = np.stack(read) if read else None
    else:
        found = golden("pixels")
    if found is None:
        raise BadPackage("%s holds no picture" % (folder or "the golden folder"))
    made: np.ndarray = preprocess(found, spec)
    return made


def for_rknn(values: np.ndarray) -> str:
    """Writes what RKNN-Toolkit2 reads, an .npy of [1, channels, height, width] a picture and a list of them,
    and returns the list's name.
    """
    os.makedirs(os.path.join(HERE, FOLDER), exist_ok=True)
    names = ["%s/%04d.npy" % (FOLDER, number) for number in range(len(values))]
    for name, one in zip(names, values):  # noqa: B905 (of Python 3.10)
        np.save(os.path.join(HERE, name), one[None])
    with open(os.path.join(HERE, "dataset.txt"), "w") as file:
        file.write("\n".join(names) + "\n")
    return "dataset.txt"


def for_hailo(values: np.ndarray) -> str:
    """Writes what Hailo's compiler reads, one .npy of [n, height, width, channels], and returns its name."""
    np.save(os.path.join(HERE, FOLDER + ".npy"), np.ascontiguousarray(values.transpose(0, 2, 3, 1)))
    return FOLDER + ".npy"


if __name__ == "__main__":
    write = {"rknn": for_rknn, "hailo": for_hailo}[sys.argv[1]]
    try:
        values = inputs(*sys.argv[2:3])
    except BadPackage as error:
        sys.exit(str(error))
    print("%s: %d pictures" % (write(values), len(values)))
