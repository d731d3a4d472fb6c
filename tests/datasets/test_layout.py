"""What names alone say: the layouts in which data sets are published, each with its classes and parts."""

import csv
import io
import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.filenames import read_names
from engine.datasets.labels import read_tables
from engine.datasets.layout import part_of, read_layout
from engine.errors import BadInput

CLASSES = ("cat", "dog", "fox")


def folders(prefix="", count=20, classes=CLASSES, suffix=""):
    return [f"{prefix}{kind}/{suffix}{i}.jpg" for kind in classes for i in range(count)]


def flat(prefix, count=12):
    return [f"{prefix}{i}.jpg" for i in range(count)]


def counted(layout):
    """Returns how many pictures each part holds, and the classes."""
    parts = {}
    for _, part, _kind in layout.pictures:
        parts[part] = parts.get(part, 0) + 1
    return parts, sorted({kind for _, _, kind in layout.pictures})


PUBLISHED = {
    "plain": (folders(), {"": 60}),
    "one folder around": (folders("pets/"), {"": 60}),
    "doubled folders": (
        folders("training_set/training_set/") + folders("test_set/test_set/", 5),
        {"train": 60, "test": 15},
    ),
    "doubled three times": (
        folders("a/train/train/train/") + folders("a/test/test/test/", 5),
        {"train": 60, "test": 15},
    ),
    "a word before": (
        folders("seg_train/seg_train/") + folders("seg_test/seg_test/", 5) + flat("seg_pred/seg_pred/"),
        {"train": 60, "test": 15},
    ),
    "a word behind": (folders("Train Images/") + folders("Validation Images/", 5), {"train": 60, "val": 15}),
    "roboflow": (
        folders("train/") + folders("valid/", 4) + folders("test/", 2),
        {"train": 60, "val": 12, "test": 6},
    ),
    "dev and eval": (folders("training/") + folders("dev/", 5), {"train": 60, "val": 15}),
    "unlabelled test": (folders("train/") + flat("test/"), {"": 60}),
    "unlabelled test in a folder": (folders("train/") + flat("test/images/"), {"": 60}),
    "unlabelled test in a folder that is no class": (
        folders("train/") + folders("val/", 5) + flat("test/unknown/"),
        {"train": 60, "val": 15},
    ),
    "folds": (folders("fold_1/") + folders("fold_2/"), {"": 120}),
    "masks beside": (
        [f"BUSI/{kind}/{kind} ({i}){end}.png" for kind in CLASSES for i in range(20) for end in ("", "_mask")]
        + ["BUSI/cat/cat (3)_mask_1.png"],
        {"": 60},
    ),
    "unlabelled test beside val": (
        folders("train/") + folders("val/", 5) + flat("test/"),
        {"train": 60, "val": 15},
    ),
    "images below the parts": (
        folders("train/images/") + folders("val/images/", 5),
        {"train": 60, "val": 15},
    ),
    "parts inside the classes": (
        [*folders(suffix="train/"), *folders(suffix="test/", count=5)],
        {"train": 60, "test": 15},
    ),
    "a preview at the top": ([*folders(), "preview.jpg"], {"": 60}),
    "a folder beside the parts": (
        folders("train/") + folders("test/", 5) + flat("samples/", 3),
        {"train": 60, "test": 15},
    ),
    "one class in the test part": (
        folders("train/") + folders("test/", 5, ("cat",)),
        {"train": 60, "test": 5},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts(name):
    names, expected = PUBLISHED[name]
    layout = read_layout(names, "x.zip")
    parts, classes = counted(layout)
    assert parts == expected and classes == sorted(CLASSES)
    assert {name for name, _, _ in layout.pictures} | set(layout.left_out) == set(names)
    for name, _, kind in layout.pictures:
        assert f"{kind}/" in name


def test_what_is_left_out_is_said():
    layout = read_layout(folders("train/") + flat("test/"), "x.zip")
    assert layout.notes == ["12 pictures have no label and are left out."]
    assert set(layout.left_out.values()) == {"has no label: its folder holds no class folders"}
    assert read_layout([*folders(), "a.jpg"], "x.zip").notes == [
        "1 picture beside the class folders is left out."
    ]


def test_classes_that_speak_of_masks_are_no_masks():
    names = [f"{kind}/{kind}_{i}.jpg" for kind in ("with_mask", "without_mask") for i in range(20)]
    assert read_layout(names, "x.zip").left_out == {}


def test_a_competition_s_tables_label_the_training_part_alone():
    """Both parts count their pictures from 0, and the sample of what to hand in says one label for all."""
    tables = {
        "train.csv": table(["id", "label"], *([f"{i}.png", i % 12] for i in range(60))),
        "sample_submission.csv": table(["id", "label"], *([f"{i}.png", 0] for i in range(60))),
    }
    pictures = [f"{part}/{i}.png" for part in ("train", "test") for i in range(60)]
    found = read_tables(pictures, tables, tables.__getitem__)
    assert {name.split("/")[0] for name, _, _ in found.pictures} == {"train"} and len(found.pictures) == 60
    assert found.classes() == [str(i) for i in range(12)]  # numbers out of a table are in their own order


def test_two_spellings_of_one_letter_are_one_class():
    composed, taken_apart = "éléphant", unicodedata.normalize("NFD", "éléphant")
    assert composed != taken_apart
    names = folders(classes=(composed, "日本 語"), count=5) + [f"{taken_apart}/x{i}.jpg" for i in range(5)]
    layout = read_layout(names, "x.zip")
    assert len(layout.pictures) == 15 and layout.classes() == [composed, "日本 語"]


@pytest.mark.parametrize("read", ["folders", "table", "names"])
def test_classes_stand_in_the_order_of_their_spelled_names(read):
    """The order that a network was trained in: Élan before Fox where macOS took the accent apart."""
    for spelled, expected in (("\u00c9lan", ["Fox", "Élan"]), ("E\u0301lan", ["Élan", "Fox"])):
        names = [f"{kind}_{i}.jpg" for kind in (spelled, "Fox") for i in range(20)]
        layout = {
            "folders": lambda names=names: read_layout([n.replace("_", "/") for n in names], "x.zip"),
            "names": lambda names=names: read_names(names),
            "table": lambda names=names: read_tables(
                names, ["x.csv"], lambda _: table(["id", "label"], *((n, n.split("_")[0]) for n in names))
            ),
        }[read]()
        assert layout.classes() == expected


@pytest.mark.parametrize(
    "classes", [("train", "bus"), ("valid", "invalid"), ("test_tube", "beaker"), ("set", "game")]
)
def test_classes_that_sound_like_parts(classes):
    assert counted(read_layout(folders(classes=classes), "x.zip"))[1] == sorted(classes)


@pytest.mark.parametrize(
    "names",
    [
        folders(classes=("train", "test")),
        folders(classes=("training", "validation")),
        folders(classes=("cat", "dog", "test")),
        flat("train/") + flat("val/"),
    ],
)
def test_classes_called_train_or_test_are_refused(names):
    with pytest.raises(BadInput, match=r"names a part of a data set, not a class.*folders train and test"):
        read_layout(names, "x.zip")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("train", ("train", ())),
        ("Training Set", ("train", ())),
        ("seg_train", ("train", ("seg",))),
        ("test-images", ("test", ())),
        ("validation_data", ("val", ())),
        ("trainer", None),
        ("train_test", None),
        ("contest", None),
        ("cat", None),
    ],
)
def test_what_a_folder_speaks_of(folder, expected):
    assert part_of(folder) == expected


@given(st.permutations(PUBLISHED["a word before"][0]))
def test_the_order_of_names_changes_nothing(names):
    expected = read_layout(PUBLISHED["a word before"][0], "x.zip")
    found = read_layout(names, "x.zip")
    assert sorted(found.pictures) == sorted(expected.pictures)
    assert found.left_out.keys() == expected.left_out.keys()


def table(*rows, delimiter=","):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    return file.getvalue().encode()


def kinds(count):
    return itertools.islice(itertools.cycle(CLASSES), count)


TABLES = {
    "file,label": [["file", "label"], *([f"{i}.jpg", kind] for i, kind in enumerate(kinds(12)))],
    "kaggle's id": [["id", "breed"], *([f"{i}", kind] for i, kind in enumerate(kinds(12)))],
    "whole paths": [["label", "path"], *([kind, f"images/{i}.jpg"] for i, kind in enumerate(kinds(12)))],
    "windows": [["label", "path"], *([kind, f".\\images\\{i}.jpg"] for i, kind in enumerate(kinds(12)))],
    "one column a class": [
        ["filename", *CLASSES],
        *([f"{i}.jpg", *(int(kind == other) for other in CLASSES)] for i, kind in enumerate(kinds(12))),
    ],
    "more columns": [
        ["age", "image", "class", "width"],
        *([40 + i, f"{i}.jpg", kind, 24] for i, kind in enumerate(kinds(12))),
    ],
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_labels_from_a_table(name, delimiter):
    content = table(*TABLES[name], delimiter=delimiter)
    found = read_tables(flat("images/"), ["labels.csv", "README.txt"], lambda _: content)
    assert found is not None
    assert {name: kind for name, _, kind in found.pictures} == dict(
        zip(flat("images/"), kinds(12), strict=True)
    )
    assert not found.left_out and "12 pictures" in found.notes[0]


def test_a_column_names_the_part():
    rows = [[f"{i}.jpg", kind, "test" if i > 8 else "train"] for i, kind in enumerate(kinds(12))]
    found = read_tables(flat("images/"), ["x.csv"], lambda _: table(["file", "label", "split"], *rows))
    assert counted(found) == ({"train": 9, "test": 3}, list(CLASSES))


def test_a_table_in_each_part():
    tables = {
        f"{part}/_classes.csv": table(
            ["filename", "class"], *zip([f"{i}.jpg" for i in range(12)], kinds(12), strict=True)
        )
        for part in ("train", "valid")
    }
    found = read_tables(flat("train/") + flat("valid/"), tables, tables.__getitem__)
    assert counted(found) == ({"train": 12, "val": 12}, list(CLASSES))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\1\2",
        b"just words without any order",
        table(["file", "label"], ["other1.jpg", "cat"], ["other2.jpg", "dog"]),
        table(["file", "label"], *([f"{i}.jpg", "cat"] for i in range(12))),
        table(["file", "a", "b"], *([f"{i}.jpg", i, 2 * i] for i in range(12))),
    ],
)
def test_a_table_about_something_else_is_passed_over(content):
    assert read_tables(flat("images/"), ["x.csv"], lambda _: content) is None


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("train/{}.{}.jpg", ["cat", "dog"]),
        ("images/{}_{:03d}.jpg", ["Abyssinian", "american_bulldog", "shiba-inu"]),
        ("{} ({}).png", ["ok", "not ok"]),
        ("{}{}.bmp", ["scratch", "dent"]),
        ("{1}_{0}.png", ["frog", "truck"]),
        ("{}_{:05d}.png", ["0", "1", "7"]),
    ],
)
def test_classes_that_stand_in_the_names_of_the_pictures(name, classes):
    names = [name.format(kind, i) for kind in classes for i in range(20)]
    found = read_names(names + [f"test1/{i}.jpg" for i in range(10)])
    assert sorted({kind for _, _, kind in found.pictures}) == sorted(classes)
    assert {part for _, part, _ in found.pictures} == {""} and len(found.pictures) == len(names)
    assert len(found.left_out) == 10 and "read from the pictures' names" in found.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        [f"{i:05d}.png" for i in range(40)],
        [f"{kind}_{i:04d}.jpg" for kind in ("IMG", "DSC") for i in range(40)],
        [f"{kind}_{i}.jpg" for kind in ("train", "test") for i in range(40)],
        [f"picture of day {i} by nobody.jpg" for i in range(40)],
        [f"{i}_{hash_}.jpg" for i in range(40) for hash_ in (f"a{i}", f"b{i}")],
    ],
)
def test_names_that_tell_no_class_are_not_taken_for_one(names):
    assert read_names(names) is None


def test_an_unlabelled_part_may_be_called_as_cameras_do():
    names = [f"train/{kind}.{i}.jpg" for kind in ("cat", "dog") for i in range(20)]
    found = read_names(names + [f"test/image_{i}.jpg" for i in range(9)])
    assert {kind for _, _, kind in found.pictures} == {"cat", "dog"} and len(found.left_out) == 9


def test_a_name_made_to_take_long_takes_none():
    # a pattern that goes back took 6 s for each: this test would end at its limit
    for sign in ("_", "a", "1", " ", "a1", "_1"):
        assert read_names([sign * (1000 // len(sign)) + "!.jpg"] * 50) is None
