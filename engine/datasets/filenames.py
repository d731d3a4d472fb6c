"""Labels that stand in the pictures' own names: `cat.0.jpg` as Kaggle has them, `american_bulldog_203.jpg` of
the Oxford pets, `17_frog.png`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

from engine.datasets.layout import PARTS, Layout, part_of, part_of_path

BETWEEN, DIGITS = " ._-\t", "0123456789"
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
    expected = [name for name, part in parts.items() if part is None or part[0] == "train"]
    for reading in (before_number, behind_number):
        labels = {name: label for name in pictures if (label := reading(PurePosixPath(name).stem))}
        counts = Counter(labels[name] for name in expected if name in labels)
        if counts.total() < NAMED_SHARE * len(expected) or not _are_classes(counts):
            continue
        # a part without labels may be called as cameras do
        labels = {name: label for name, label in labels.items() if label in counts}
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


def before_number(stem: str) -> str:
    """Returns the class that stands before a picture's number, "" for none: a word, or a number of its own.

    By stripping and not by a pattern: names are foreign, and a pattern with so much left open takes minutes
    for one that is made for it.
    """
    bare = stem.removesuffix(")").rstrip(DIGITS)
    label = bare.rstrip(BETWEEN + "(")
    if bare == stem.removesuffix(")") or not label:
        return ""
    numbered = label.isdigit() and len(label) <= 3 and label != bare
    return label.lstrip(BETWEEN) if numbered or _has_letter(label) else ""


def behind_number(stem: str) -> str:
    """Returns the class that stands behind a picture's number, "" for none."""
    bare = stem.lstrip(DIGITS)
    label = bare.lstrip(BETWEEN)
    return label.rstrip(BETWEEN) if bare != stem and label != bare and _has_letter(label) else ""


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))


def _part(spoken: tuple[str, tuple[str, ...]] | None) -> str:
    return spoken[0] if spoken and spoken[0] in PARTS else ""


def _are_classes(counts: Counter[str]) -> bool:
    return (
        len(counts) > 1
        and counts.total() >= FEWEST_A_CLASS * len(counts)
        and not any(_NO_LABEL.fullmatch(label) or part_of(label) for label in counts)
    )
