"""Which picture of a data set belongs to which class and part, read from names alone.

Published sets lie in a handful of layouts: class folders; `train`, `val`, `test` above them (in any spelling,
packed twice, with something before or behind the word, the other way round); a test part without labels;
one folder of pictures beside a table of labels. What a folder's name says is decided here and nowhere else.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from engine.errors import BadInput, shortened

Path = tuple[str, ...]

PARTS = ("train", "val", "test")
UNLABELLED = "unlabelled"
_WORDS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "eval": "val",
    "evaluation": "val",
    "dev": "val",
    "pred": UNLABELLED,
    "predict": UNLABELLED,
    "prediction": UNLABELLED,
    "unlabeled": UNLABELLED,
    "unlabelled": UNLABELLED,
}
_FILLERS = {
    "set",
    "sets",
    "data",
    "dataset",
    "image",
    "images",
    "imgs",
    "img",
    "pictures",
    "photos",
    "split",
    "folder",
}
# words that are no class of anybody's, unlike a train (a vehicle) or what is valid
_NO_CLASS = re.compile(
    r"(test|testing|val|validation|training|eval|evaluation)([ _-]?(set|data|images))?", re.I
)
_MASK = re.compile(r"(.+?)[ _-]mask([ _-]?\d+)?", re.I | re.S)
_FOLD = re.compile(r"k?[ _-]?fold[ _-]?\d+", re.I)
# loose pictures beside class folders are leftovers up to here; more of them are a layout that is not
# understood
MOST_LOOSE_SHARE, MOST_LOOSE = 0.05, 50


@dataclass
class Layout:
    """What the names say: `pictures` are (name, part, class), part is one of PARTS or "" where the set has
    none, the class as it is spelled there; `left_out` gives a reason by name; `notes` are sentences for the
    user.
    """

    pictures: list[tuple[str, str, str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    numbered: bool = False

    def classes(self) -> list[str]:
        """Returns the classes' names in composed Unicode, in the order of their spelled names, which is the
        one that networks are trained in: macOS takes letters and accents apart. Of several spellings the
        usual one counts. Whole numbers out of a table are in the order of numbers where they are `numbered`.
        """
        spellings: dict[str, Counter[str]] = defaultdict(Counter)
        for _, _, kind in self.pictures:
            spellings[composed(kind)][kind] += 1
        if self.numbered and all(kind.isdecimal() and len(kind) < 10 for kind in spellings):
            return sorted(spellings, key=int)
        return sorted(spellings, key=lambda kind: spellings[kind].most_common(1)[0][0])


def composed(name: str) -> str:
    """Returns a name in composed Unicode: two spellings of é are one class."""
    return unicodedata.normalize("NFC", name)


def read_layout(names: list[str], title: str) -> Layout:
    """Returns the layout of pictures by their names, "/" between folders.

    Raises BadInput where pictures are in no class folder, or where the classes would be called train and
    test.
    """
    found = Layout()
    names = _without_masks(names, found)
    masks = len(found.left_out)
    paths = {name: path for name, path in zip(names, _bare([_parts(name) for name in names]), strict=True)}
    paths = _without_folds(paths)
    parted = _by_part(paths)
    if parted is None:
        _add_classes(found, "", paths, title)
        _refuse_parts_as_classes(found, title)
        return found
    known = {path[0] for path in _unwrapped(parted["train"]).values()}
    for part, members in parted.items():
        if part == "":
            _leave_out(found, members, "lies beside the parts of the data set")
        elif part == UNLABELLED or (part != "train" and _has_no_classes(members, known)):
            _leave_out(found, members, "has no label: its folder holds no class folders")
        else:
            _add_classes(found, part, _unwrapped(members), title)
    if unlabelled := len(found.left_out) - masks:
        found.notes.append(f"{unlabelled:,} pictures have no label and are left out.")
    if not any(part in ("val", "test") for _, part, _ in found.pictures):
        found.pictures = [(name, "", kind) for name, _, kind in found.pictures]
    _refuse_parts_as_classes(found, title)
    return found


def part_of(folder: str) -> tuple[str, tuple[str, ...]] | None:
    """Returns the part that a folder's name speaks of and what else its name holds; None where it speaks of
    none.

    `seg_train` gives ("train", ("seg",)), `Training Set` and `train1` give ("train", ()).
    """
    tokens = [
        re.sub(r"(?<=[a-z])\d$", "", token) for token in re.split(r"[\s_.\-]+", folder.lower()) if token
    ]
    spoken = [token for token in tokens if token in _WORDS]
    if len(spoken) != 1:
        return None
    rest = tuple(token for token in tokens if token not in _WORDS and token not in _FILLERS)
    return _WORDS[spoken[0]], rest


def part_of_path(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Returns what `part_of` says of the innermost folder of a picture's path that is called by a part alone;
    None where none is.
    """
    folders = name.split("/")[:-1]
    spoken = [part for folder in folders if (part := part_of(folder)) and not part[1]]
    return spoken[-1] if spoken else None


def _parts(name: str) -> Path:
    """Returns the folders and the file of a name; a folder of many pictures is held once."""
    found = [part for part in name.split("/") if part not in ("", ".")]
    return (*map(sys.intern, found[:-1]), *found[-1:])


def _bare(paths: list[Path]) -> list[Path]:
    """Drops the folders that hold everything, as packing a folder makes one."""
    while paths and len({path[0] for path in paths}) == 1 and all(len(path) > 2 for path in paths):
        paths = [path[1:] for path in paths]
    return paths


def _without_masks(names: list[str], found: Layout) -> list[str]:
    """Leaves out the masks that segmentation sets keep beside their pictures, each called as its picture."""
    stems = {name.rsplit(".", 1)[0] for name in names}
    masks = [name for name in names if (m := _MASK.fullmatch(name.rsplit(".", 1)[0])) and m[1] in stems]
    if masks:
        _leave_out(found, dict.fromkeys(masks, ()), "is the mask of another picture")
        found.notes.append(f"{_counted(len(masks), 'mask')} beside the pictures {_is(masks)} left out.")
    left_out = set(masks)
    return [name for name in names if name not in left_out]


def _without_folds(paths: dict[str, Path]) -> dict[str, Path]:
    """Drops the folders of a cross-validation, each of which holds the same classes."""
    inside: dict[str, set[str]] = defaultdict(set)
    for path in paths.values():
        inside[path[0]].add(path[1] if len(path) > 2 else "")
    folds = list(inside.values())
    same = len(folds) > 1 and "" not in folds[0] and len(folds[0]) > 1 and all(f == folds[0] for f in folds)
    if same and all(_FOLD.fullmatch(folder) for folder in inside):
        return {name: path[1:] for name, path in paths.items()}
    return paths


def _by_part(paths: dict[str, Path]) -> dict[str, dict[str, Path]] | None:
    """Returns the pictures' paths by part, below the folders that name them; None where nothing does.

    "" collects what lies beside such folders.
    """
    folders = {path[0] for path in paths.values() if len(path) > 1}
    if not folders:
        return None
    spoken = {folder: part for folder in folders if (part := part_of(folder))}
    # the same words around the part in every folder: seg_train and seg_test, but not bus_train and car
    around = Counter(rest for _, rest in spoken.values())
    usual = around.most_common(1)[0][0] if around else ()
    named = {folder: part for folder, (part, rest) in spoken.items() if rest == usual}
    if "train" in named.values() and len(set(named.values())) > 1 and _train_has_classes(paths, named):
        return _below(paths, named)
    return _by_part_inside(paths, folders)


def _train_has_classes(paths: dict[str, Path], named: dict[str, str]) -> bool:
    train = {name: path[1:] for name, path in paths.items() if named.get(path[0]) == "train"}
    return not _has_no_classes(train)


def _below(paths: dict[str, Path], named: dict[str, str]) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for name, path in paths.items():
        part = named.get(path[0], "") if len(path) > 1 else ""
        found[part][name] = path[1:] if part else path
    return dict(found)


def _by_part_inside(paths: dict[str, Path], folders: set[str]) -> dict[str, dict[str, Path]] | None:
    """The other way round: cat/train/1.jpg and cat/test/2.jpg in every class."""
    inside: dict[str, set[str | None]] = defaultdict(set)
    for path in paths.values():
        if len(path) > 1:
            spoken = part_of(path[1]) if len(path) > 2 else None
            inside[path[0]].add(spoken[0] if spoken and not spoken[1] else None)
    if not folders or not all(
        "train" in parts and len(parts) > 1 and None not in parts for parts in inside.values()
    ):
        return None
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for name, path in paths.items():
        if len(path) < 3:
            found[""][name] = path
        else:
            spoken = part_of(path[1])
            assert spoken is not None  # `inside` has looked at every one
            found[spoken[0]][name] = (path[0], *path[2:])
    return dict(found)


def _has_no_classes(members: dict[str, Path], known: set[str] | None = None) -> bool:
    """Tells whether most of a part's pictures lie in no folder, or all in one that is none of the `known`
    classes, as Keras wants unlabelled ones (test/unknown): no classifier's labels.
    """
    members = _unwrapped(members)
    classes = {path[0] for path in members.values() if len(path) > 1}
    loose = sum(len(path) == 1 for path in members.values())
    strange = known is not None and len(classes) == 1 and not classes & known
    return loose > len(members) / 2 or len(classes) < 1 or strange


def _unwrapped(members: dict[str, Path]) -> dict[str, Path]:
    """Drops the folders inside a part that hold all of it: seg_train/seg_train/cat, train/images/cat."""
    paths = _bare(list(members.values()))
    while paths and len({path[0] for path in paths}) == 1 and all(len(path) > 1 for path in paths):
        folder = paths[0][0]
        if part_of(folder) is None and folder.lower() not in _FILLERS:
            break
        paths = [path[1:] for path in paths]
    return dict(zip(members, paths, strict=True))


def _add_classes(found: Layout, part: str, members: dict[str, Path], title: str) -> None:
    loose = [name for name, path in members.items() if len(path) < 2]
    if loose and len(loose) > min(MOST_LOOSE, MOST_LOOSE_SHARE * len(members)):
        raise BadInput(
            f"In '{title}' the picture '{shortened(loose[0].rsplit('/', 1)[-1], 80)}' is in no class folder,"
            f" nor are {len(loose) - 1:,} others: put each class's pictures into a folder of its own, or"
            " add a labels.csv with the columns file and label."
        )
    _leave_out(found, dict.fromkeys(loose, ()), "is in no class folder")
    if loose and part == "":
        found.notes.append(
            f"{_counted(len(loose), 'picture')} beside the class folders {_is(loose)} left out."
        )
    found.pictures += [(name, part, path[0]) for name, path in members.items() if len(path) > 1]


def _leave_out(found: Layout, members: dict[str, Path], why: str) -> None:
    found.left_out |= dict.fromkeys(members, why)


def _refuse_parts_as_classes(found: Layout, title: str) -> None:
    """A class that is called test or val is a part that was not understood; two such never are classes."""
    classes = sorted({kind for _, _, kind in found.pictures})
    spoken = {kind: part for kind in classes if (part := part_of(kind)) and not part[1]}
    surely = [kind for kind in spoken if _NO_CLASS.fullmatch(kind)]
    if surely or len({part for part, _ in spoken.values()}) > 1:
        named = (surely or list(spoken))[0]
        beside = shortened(", ".join(classes[:5]), 120)
        raise BadInput(
            f"'{title}' has a folder '{shortened(named, 80)}' where its classes are ({beside}): that"
            " names a part of a data set, not a class. Put class folders into each of the folders train and"
            f" test, or give '{shortened(named, 80)}' another name if it really is a class."
        )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _is(things: list[str]) -> str:
    return "is" if len(things) == 1 else "are"
