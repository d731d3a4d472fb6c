"""Labels that stand in the pictures' own names: `cat.0.jpg` as Kaggle has them, `american_bulldog_203.jpg` of
the Oxford pets, `17_frog.png`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import PurePosixPath

from engine.datasets.layout import PARTS, UNLABELLED, Layout, part_of, part_of_path

# the class before a number, or behind one; a class is a word, or a number of its own before the picture's
READINGS = (
    re.compile(r"(?P<label>.*\w?[^\W\d]\w*?|\d{1,3})[\s._\-]*[\s._\-(]\d+\)?"),
    re.compile(r"(?P<label>.*[^\W\d])\d+"),
    re.compile(r"\d+[\s._\-]+(?P<label>.*[^\W\d].*)"),
)
# what cameras and programs call their files tells no class
_NO_LABEL = re.compile(
    r"(img|image|images|dsc|dscn|dscf|pxl|vid|photo|picture|pic|frame|screenshot|scan|file|sample|untitled"
    r"|whatsapp.*|download)[\s._\-\d]*",
    re.I,
)
NAMED_SHARE = 0.98  # of the pictures that are not in an unlabelled part
FEWEST_A_CLASS = 5  # on average: fewer are names of pictures, not of classes


def read_names(pictures: list[str]) -> Layout | None:
    """Returns the layout that the files' names give to `pictures`; None where they name no classes."""
    parts = {name: part_of_path(name) for name in pictures}
    for reading in READINGS:
        labels = {name: label for name in pictures if (label := _label(name, reading))}
        expected = [name for name in pictures if _is_labelled(parts[name]) or name in labels]
        if len(labels) < NAMED_SHARE * len(expected) or not _are_classes(Counter(labels.values())):
            continue
        found = Layout()
        found.pictures = [(name, _part(parts[name]), label) for name, label in labels.items()]
        if not {"train"} < {part for _, part, _ in found.pictures}:
            found.pictures = [(name, "", label) for name, _, label in found.pictures]
        found.left_out = {name: "has no class in its name" for name in pictures if name not in labels}
        one = next(iter(labels))
        found.notes.append(
            f"The classes are read from the pictures' names: {PurePosixPath(one).name} is of the class"
            f" {labels[one]}."
        )
        return found
    return None


def _label(name: str, reading: re.Pattern[str]) -> str:
    found = reading.fullmatch(unicodedata.normalize("NFC", PurePosixPath(name).stem))
    return found["label"].strip(" ._-") if found else ""


def _is_labelled(part: tuple[str, tuple[str, ...]] | None) -> bool:
    return part is None or part[0] == "train"


def _part(spoken: tuple[str, tuple[str, ...]] | None) -> str:
    return spoken[0] if spoken and spoken[0] in PARTS and spoken[0] != UNLABELLED else ""


def _are_classes(counts: Counter[str]) -> bool:
    return (
        len(counts) > 1
        and counts.total() >= FEWEST_A_CLASS * len(counts)
        and not any(_NO_LABEL.fullmatch(label) or part_of(label) for label in counts)
    )
