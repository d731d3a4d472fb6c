"""Classifies pictures with the model in this folder: python infer.py PICTURE_OR_FOLDER [...] [--json]
[--csv FILE]

Needs what requirements.txt names and nothing else. metadata.json says how pictures become the model's input.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from typing import Any, Iterator

from classifier import MIN_CONFIDENCE, OTHER_RUNTIME, BadPackage, Classifier
from image import FORMATS, NoPicture

ENDINGS = tuple("." + name.lower() for name in (*FORMATS, "JPG", "TIF", "PGM"))


def main() -> None:
    """Classifies the pictures that are named on the command line."""
    arguments = parsed()
    try:
        classifier = Classifier(arguments.threads, runtime=arguments.runtime)
        paths = list(pictures(arguments.images))
        rows = [classified(classifier, path, arguments) for path in paths]
    except (BadPackage, NoPicture, OSError) as error:
        sys.exit(str(error))
    if arguments.csv:
        with open(arguments.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["image", "class", "index", "probability"])
            writer.writeheader()
            writer.writerows(rows)


def parsed() -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", nargs="+", help="pictures, or folders of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object a picture")
    parser.add_argument("--csv", metavar="FILE", help="write a table too")
    parser.add_argument("--annotate", metavar="FOLDER", help="write each picture with its answer on it")
    parser.add_argument("--min-confidence", type=float, help=MIN_CONFIDENCE)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runtime", choices=["opencv"], help=OTHER_RUNTIME)
    return parser.parse_args()


def pictures(named: list[str]) -> Iterator[str]:
    """Yields what was named, and the pictures in the folders among it, in order."""
    for path in named:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, _, files in sorted(os.walk(path)):
            for name in sorted(files):
                if name.lower().endswith(ENDINGS):
                    yield os.path.join(folder, name)


def classified(classifier: Classifier, path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Answers one picture, and says so. Raises NoPicture with the file's name."""
    answer = classifier.answer(classifier.read_file(path), arguments.min_confidence)
    row = {"image": path, **answer}
    print(
        json.dumps(row)
        if arguments.json
        else "%s: %s (%.1f %%)" % (path, row["class"], 100 * row["probability"])
    )
    if arguments.annotate:
        annotate(path, "%s %.0f %%" % (row["class"], 100 * row["probability"]), arguments.annotate)
    return row


def annotate(path: str, text: str, folder: str) -> None:
    """Writes a copy of a picture with a text in its corner."""
    from PIL import Image, ImageDraw, ImageOps

    os.makedirs(folder, exist_ok=True)
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.rectangle(draw.textbbox((2, 2), text), fill="black")
    draw.text((2, 2), text, fill="white")
    picture.save(os.path.join(folder, os.path.basename(path) + ".png"))


if __name__ == "__main__":
    main()
