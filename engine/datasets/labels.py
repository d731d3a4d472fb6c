"""Labels that stand in a table beside the pictures: `file,label`, Kaggle's `id,label`, Roboflow's one column
a class.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from engine.datasets.layout import PARTS, UNLABELLED, Layout, composed, part_of, part_of_path

MOST_TABLE_BYTES = 50_000_000
MOST_COLUMNS = 1_010  # a column a class, and a few more
_LABELS = (
    "label",
    "class",
    "category",
    "target",
    "classname",
    "class_name",
    "label_name",
    "species",
    "breed",
    "diagnosis",
)
_SPLITS = ("split", "subset", "set", "part", "usage", "partition", "data_set", "fold_name")
Spoken = tuple[str, tuple[str, ...]] | None  # what `part_of` says of a name
_MATCHED_SHARE = 0.5  # of a table's rows must name a picture, or it is about something else


def read_tables(pictures: list[str], others: Iterable[str], read: Callable[[str], bytes]) -> Layout | None:
    """Returns the layout that tables among `others` give to `pictures`; None where no table names them.

    `read` returns a file's bytes. A table that is no table, is too large or names too few pictures is passed
    over.
    """
    by_stem, found = _index(pictures), Layout(numbered=True)
    labelled: set[str] = set()
    for table in sorted(others):
        if PurePosixPath(table).suffix.lower() not in (".csv", ".tsv") or "submission" in table.lower():
            continue  # a sample of what to hand in labels the test part's pictures all alike
        rows = _rows(read(table))
        for name, part, label in _labelled(rows, by_stem, table) if rows else ():
            if name not in labelled:
                labelled.add(name)
                found.pictures.append((name, part, label))
    if len(found.classes()) < 2:
        return None
    without = [name for name in pictures if name not in labelled]
    found.left_out = dict.fromkeys(without, "is in no table of labels")
    found.notes.append(f"The labels of {len(labelled):,} pictures are read from a table beside them.")
    parts = {part for _, part, _ in found.pictures}
    if "train" not in parts or not parts & {"val", "test"} or "" in parts:
        found.pictures = [(name, "", label) for name, _, label in found.pictures]
    return found


def _index(pictures: list[str]) -> dict[str, list[str]]:
    """Returns pictures by every way in which a table may name them: whole path, file name, without suffix."""
    found: dict[str, list[str]] = {}
    for name in pictures:
        path = PurePosixPath(composed(name))
        tails = ["/".join(path.parts[i:]) for i in range(len(path.parts))]
        for tail in tails:
            for key in (tail, tail.removesuffix(path.suffix)):
                found.setdefault(key, []).append(name)
    return found


def _rows(content: bytes) -> list[list[str]]:
    """Returns the rows of a table with its header; nothing for what is no table."""
    if len(content) > MOST_TABLE_BYTES or b"\0" in content[:4096]:
        return []
    text = content.decode("utf-8-sig", "replace")
    try:
        dialect = csv.Sniffer().sniff(text[:4096], ",;\t|")
    except csv.Error:
        return []
    try:
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if row]
    except csv.Error:
        return []
    usable = len(rows) > 1 and 2 <= len(rows[0]) <= MOST_COLUMNS
    return [[cell.strip() for cell in row] for row in rows] if usable else []


def _labelled(rows: list[list[str]], by_stem: dict[str, list[str]], table: str) -> list[tuple[str, str, str]]:
    header, body = [cell.lower() for cell in rows[0]], [row for row in rows[1:] if len(row) == len(rows[0])]
    if not body:
        return []
    file_column = _file_column(body, by_stem)
    if file_column is None:
        return []
    named = part_of(PurePosixPath(table).stem)  # train.csv, test.csv
    label_of = _label_reader(header, rows[0], body, file_column)
    if label_of is None:
        return []
    split_column = next((i for i, name in enumerate(header) if name in _SPLITS and i != file_column), None)
    folder = "/".join(PurePosixPath(table).parts[:-1])
    found = []
    for row in body:
        label, name = label_of(row), _picture(row[file_column], by_stem, folder, named)
        if name is None or not label:
            continue
        spoken = part_of(row[split_column]) if split_column is not None else part_of_path(name) or named
        part = spoken[0] if spoken and spoken[0] in PARTS else ""
        if spoken is None or spoken[0] != UNLABELLED:
            found.append((name, part, label))
    return found


def _file_column(body: list[list[str]], by_stem: dict[str, list[str]]) -> int | None:
    """Returns the column whose cells name pictures, most of all columns and at least half of its rows."""
    some = body[:: max(1, len(body) // 500)]
    hits = [sum(_key(row[i]) in by_stem for row in some) for i in range(len(body[0]))]
    best = max(range(len(hits)), key=hits.__getitem__)
    return best if hits[best] >= _MATCHED_SHARE * len(some) else None


def _key(cell: str) -> str:
    return composed(cell.replace("\\", "/").removeprefix("./").strip("/"))


def _picture(cell: str, by_stem: dict[str, list[str]], folder: str, named: Spoken) -> str | None:
    """Returns the one picture that a cell names; of several, the one in the part that the table is called by
    or beside the table, else none.
    """
    found = by_stem.get(_key(cell), [])
    if len(found) > 1 and named is not None:
        found = [name for name in found if (part_of_path(name) or named)[0] == named[0]]
    if len(found) > 1:
        found = [name for name in found if folder and name.startswith(folder + "/")]
    return found[0] if len(found) == 1 else None


def _label_reader(
    header: list[str], shown: list[str], body: list[list[str]], file_column: int
) -> Callable[[list[str]], str] | None:
    """Returns the function that reads a row's label: a column that is called so, one column a class, or the
    only other.
    """
    rest = [i for i in range(len(header)) if i != file_column]
    named = [i for name in _LABELS for i in rest if header[i] == name]
    if named:
        return lambda row: row[named[0]]
    hot = [i for i in rest if all(row[i] in ("0", "1", "0.0", "1.0") for row in itertools.islice(body, 1000))]
    if len(hot) > 1 and all(sum(float(row[i]) for i in hot) == 1 for row in itertools.islice(body, 1000)):
        return lambda row: next((shown[i] for i in hot if row[i] in ("1", "1.0")), "")
    return (lambda row: row[rest[0]]) if len(rest) == 1 else None
